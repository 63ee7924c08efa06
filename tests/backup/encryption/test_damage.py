"""Truncation and flipped bits are detected everywhere: by verify, and by restore before it changes the target."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from django_cfg.backup import create_backup, restore_backup, verify_backup
from django_cfg.backup.errors import BackupError, EncryptionError, VerificationFailed
from django_cfg.backup.manifest import Encryption
from django_cfg.backup.pipeline.encryption.keyring import DecryptionKeys
from tests.support.django_project import Site
from tests.support.gnupg_home import Laptop
from tests.support.sealed_bytes import PASSPHRASE, seal, unseal

Damage = Callable[[bytes], bytes]
PLAIN = random.Random(5).randbytes(20_000)


def flip(position: int, bit: int) -> Damage:
    def damage(content: bytes) -> bytes:
        changed = bytearray(content)
        changed[position % len(changed)] ^= 1 << bit
        return bytes(changed)

    return damage


def cut(length: int) -> Damage:
    return lambda content: content[: length % len(content)]


def at_random(count: int, seed: int) -> list[Damage]:
    """As many flips as cuts, anywhere."""
    chance = random.Random(seed)
    flips = [flip(chance.randrange(1 << 30), chance.randrange(8)) for _ in range(count // 2)]
    return flips + [cut(chance.randrange(1 << 30)) for _ in range(count - count // 2)]


AT_THE_BORDERS = [flip(position, 0) for position in (0, 1, 2, 20, 120, -1, -2, -25)] + [cut(0), cut(1), cut(-1)]


@pytest.fixture
def in_keyring(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNUPGHOME", str(laptop.home.folder))


@pytest.mark.usefixtures("in_keyring")
class TestBackups:
    @pytest.mark.parametrize("compression", ["gzip", "none"])
    def test_damage_is_detected(self, site: Site, books: Path, laptop: Laptop, compression: str) -> None:
        site.configure(encryption_key=laptop.public, compression=compression)
        assert_detected(site, [*AT_THE_BORDERS, *at_random(10, seed=1)])

    def test_damage_to_a_backup_with_a_passphrase_is_detected(self, site: Site, books: Path) -> None:
        site.configure(encryption_key=PASSPHRASE)
        assert_detected(site, [*AT_THE_BORDERS[::3], *at_random(4, seed=2)])

    @pytest.mark.long
    @pytest.mark.parametrize("seed", range(10))
    def test_damage_at_many_positions_is_detected(self, site: Site, books: Path, laptop: Laptop, seed: int) -> None:
        """1,000 times in all."""
        site.configure(encryption_key=laptop.public, compression=("gzip", "zstd", "bz2", "xz", "none")[seed % 5])
        assert_detected(site, at_random(100, seed=100 + seed))


def assert_detected(site: Site, damages: list[Damage]) -> None:
    """Assert that verify and restore report each of *damages*, and that the database stays as it is."""
    manifest = create_backup()
    archive = site.backups / manifest.archive_key
    intact = archive.read_bytes()
    site.sql("UPDATE book SET title = 'after the backup'")
    before = site.content()
    for damage in damages:
        archive.write_bytes(damage(intact))
        for attempt in (verify_backup, restore_backup):
            with pytest.raises(BackupError):
                attempt()
        assert site.content() == before
    archive.write_bytes(intact)
    verify_backup()
    restore_backup()
    assert site.sql("SELECT count(*) FROM book WHERE title = 'after the backup'") == [(0,)]


@pytest.mark.usefixtures("in_keyring")
class TestGpgAlone:
    """Without the manifest's digests, as in a restore by hand: gpg decrypts to the original bytes or fails."""

    def test_damage_is_detected(self, laptop: Laptop) -> None:
        assert_gpg_detects(*seal(PLAIN, laptop.public), [*AT_THE_BORDERS, *at_random(30, seed=3)])

    def test_every_flipped_bit_of_the_header_is_detected(self, laptop: Laptop) -> None:
        """There the key's own packet is, and the first of the data's."""
        sealed, facts = seal(PLAIN, laptop.public)
        assert_gpg_detects(sealed, facts, [flip(position, position % 8) for position in range(0, 140, 3)])

    @pytest.mark.long
    def test_damage_at_many_positions_is_detected(self, laptop: Laptop) -> None:
        sealed, facts = seal(PLAIN, laptop.public)
        every_bit = [flip(position, bit) for position in range(140) for bit in range(8)]
        assert_gpg_detects(sealed, facts, [*every_bit, *at_random(1000, seed=4)])


def assert_gpg_detects(sealed: bytes, facts: Encryption, damages: list[Damage]) -> None:
    """Allow only a few bits of the key's packet that change nothing, such as its version, which may be 2 or 3."""
    passed = 0
    for damage in damages:
        try:
            assert unseal(damage(sealed), facts, DecryptionKeys()) == PLAIN
            passed += 1
        except (VerificationFailed, EncryptionError):
            continue
    assert passed <= 1 + len(damages) // 200
    assert unseal(sealed, facts, DecryptionKeys()) == PLAIN
