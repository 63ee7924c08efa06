"""A cut anywhere and a flipped bit anywhere are noticed: by verify, and by restore before it touches the target."""

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
    def test_some_damage(self, site: Site, books: Path, laptop: Laptop, compression: str) -> None:
        site.configure(encryption_key=laptop.public, compression=compression)
        assert_noticed(site, [*AT_THE_BORDERS, *at_random(10, seed=1)])

    def test_some_damage_under_a_passphrase(self, site: Site, books: Path) -> None:
        site.configure(encryption_key=PASSPHRASE)
        assert_noticed(site, [*AT_THE_BORDERS[::3], *at_random(4, seed=2)])

    @pytest.mark.long
    @pytest.mark.parametrize("seed", range(10))
    def test_much_damage(self, site: Site, books: Path, laptop: Laptop, seed: int) -> None:
        """1,000 times in all."""
        site.configure(encryption_key=laptop.public, compression=("gzip", "bz2", "xz", "none")[seed % 4])
        assert_noticed(site, at_random(100, seed=100 + seed))


def assert_noticed(site: Site, damages: list[Damage]) -> None:
    """Each of *damages* to a backup is told by verify and by restore, which leaves the database as it is."""
    manifest = create_backup()
    archive = site.backups / manifest.archive_key
    whole = archive.read_bytes()
    site.sql("UPDATE book SET title = 'after the backup'")
    before = site.content()
    for damage in damages:
        archive.write_bytes(damage(whole))
        for attempt in (verify_backup, restore_backup):
            with pytest.raises(BackupError):
                attempt()
        assert site.content() == before
    archive.write_bytes(whole)
    verify_backup()
    restore_backup()
    assert site.sql("SELECT count(*) FROM book WHERE title = 'after the backup'") == [(0,)]


@pytest.mark.usefixtures("in_keyring")
class TestGpgAlone:
    """Without our digests, as whoever restores by hand has it: what gpg lets pass is what was sealed."""

    def test_some_damage(self, laptop: Laptop) -> None:
        assert_gpg_notices(*seal(PLAIN, laptop.public), [*AT_THE_BORDERS, *at_random(30, seed=3)])

    def test_every_bit_of_the_head(self, laptop: Laptop) -> None:
        """There the key's own packet is, and the first of the data's."""
        sealed, facts = seal(PLAIN, laptop.public)
        assert_gpg_notices(sealed, facts, [flip(position, position % 8) for position in range(0, 140, 3)])

    @pytest.mark.long
    def test_much_damage(self, laptop: Laptop) -> None:
        sealed, facts = seal(PLAIN, laptop.public)
        every_bit = [flip(position, bit) for position in range(140) for bit in range(8)]
        assert_gpg_notices(sealed, facts, [*every_bit, *at_random(1000, seed=4)])


def assert_gpg_notices(sealed: bytes, facts: Encryption, damages: list[Damage]) -> None:
    """What passes are a few bits of the key's packet that change nothing, as its version, which may be 2 or 3."""
    passed = 0
    for damage in damages:
        try:
            assert unseal(damage(sealed), facts, DecryptionKeys()) == PLAIN
            passed += 1
        except (VerificationFailed, EncryptionError):
            continue
    assert passed <= 1 + len(damages) // 200
    assert unseal(sealed, facts, DecryptionKeys()) == PLAIN
