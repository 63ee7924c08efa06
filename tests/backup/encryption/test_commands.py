"""The commands with encrypted backups: their options, their prompts and their output."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from django_cfg.backup import DecryptionKey, restore_backup, verify_backup
from django_cfg.backup.errors import EncryptionError, KeyMissing, VerificationFailed
from django_cfg.backup.manifest import Manifest
from tests.support.django_project import Site
from tests.support.gnupg_home import Home, Laptop
from tests.support.sealed_bytes import PASSPHRASE

pytestmark = pytest.mark.usefixtures("books")


@pytest.fixture
def sealed(site: Site, laptop: Laptop) -> Manifest:
    """A backup to the protected key, whose private half is elsewhere."""
    site.configure(encryption_key=laptop.home.public(laptop.protected))
    return site.create()


@contextmanager
def descriptor(text: str) -> Iterator[str]:
    """The number of a file descriptor that gives *text*."""
    reading, writing = os.pipe()
    os.write(writing, text.encode())
    os.close(writing)
    try:
        yield str(reading)
    finally:
        os.close(reading)


def titles(site: Site) -> list[str]:
    return [title for (title,) in site.sql("SELECT DISTINCT title FROM book ORDER BY id LIMIT 1")]


class TestManifest:
    def test_the_manifest_names_method_and_fingerprints(self, site: Site, laptop: Laptop, sealed: Manifest) -> None:
        assert sealed.archive.key == f"{sealed.name}.sqlite3.gz.gpg"
        assert sealed.encryption.method == "public-key"
        assert sealed.encryption.recipients == (laptop.protected,)
        assert f"public-key, {laptop.protected}" in site.call("backup_show", sealed.name).stdout

    def test_only_the_method_is_recorded_for_a_passphrase(self, site: Site) -> None:
        site.configure(encryption_key=PASSPHRASE)
        manifest = site.create()
        assert manifest.encryption.model_dump() == {"method": "passphrase", "recipients": ()}
        assert PASSPHRASE not in (site.backups / manifest.key).read_text()

    @pytest.mark.parametrize("compression", ["gzip", "zstd", "bz2", "xz", "none"])
    def test_the_restore_hint_works_as_printed(self, site: Site, laptop: Laptop, compression: str) -> None:
        site.configure(encryption_key=laptop.public, compression=compression)
        hint = site.create().restore_hint
        assert hint.startswith("gpg --decrypt default_")
        subprocess.run(["sh", "-c", hint], cwd=site.backups, env=laptop.home.environment, check=True)
        assert site.sql("SELECT count(*) FROM book", database=site.backups / "restored.sqlite3") == [(200,)]

    def test_the_manifest_of_an_unencrypted_backup_has_no_encryption(self, site: Site) -> None:
        manifest = site.create()
        assert manifest.archive.key.endswith(".sqlite3.gz")
        assert manifest.encryption.method == "none"
        assert "gpg" not in manifest.restore_hint

    def test_pinning_listing_and_deleting_need_no_key(self, site: Site, sealed: Manifest) -> None:
        for command in ("backup_show", "backup_pin"):
            assert site.call(command, sealed.name).code == 0
        assert [found["name"] for found in site.call("backup_list", "--json").json] == [sealed.name]
        site.call("backup_pin", sealed.name, "--unpin")
        assert site.call("backup_delete", sealed.name, "--yes", "--force").code == 0
        assert site.stored() == []


class TestRestore:
    def test_restore_with_a_key_file_and_a_passphrase_descriptor(
        self, site: Site, laptop: Laptop, sealed: Manifest, key: Path
    ) -> None:
        site.sql("UPDATE book SET title = 'lost'")
        with descriptor(laptop.PASSPHRASE + "\n") as number:
            answer = site.call("backup_restore", "--yes", "--private-key", str(key), "--passphrase-fd", number)
        assert answer.code == 0, answer.stderr
        assert titles(site) == ["Book 1"]

    def test_restore_with_the_python_api(self, site: Site, laptop: Laptop, sealed: Manifest, key: Path) -> None:
        site.sql("UPDATE book SET title = 'lost'")
        decryption_key = DecryptionKey(key, laptop.PASSPHRASE)
        assert verify_backup(decryption_key=decryption_key) == sealed
        restore_backup(decryption_key=decryption_key)
        assert titles(site) == ["Book 1"]
        assert laptop.PASSPHRASE not in repr(decryption_key)

    def test_without_the_key_the_restore_is_refused_before_confirmation(
        self, site: Site, laptop: Laptop, sealed: Manifest, key: Path
    ) -> None:
        """It is refused before the question whether to go on."""
        before = site.database.read_bytes()
        answer = site.call("backup_restore")
        assert answer.code == 1
        assert f"encrypted to {laptop.protected}, and the keyring of this user" in answer.stderr
        assert "Replace" not in answer.stderr
        with descriptor("wrong") as number:
            answer = site.call("backup_restore", "--yes", "--private-key", str(key), "--passphrase-fd", number)
        assert "could not be unlocked" in answer.stderr
        assert site.database.read_bytes() == before

    def test_a_rotated_passphrase_still_opens_old_backups(self, site: Site, laptop: Laptop) -> None:
        """Also when the new key is a public one; and one brought along opens where nothing is configured."""
        site.configure(encryption_key=PASSPHRASE)
        site.create()
        site.sql("UPDATE book SET title = 'lost'")
        for parameters in (
            {"encryption_key": "a new one", "decryption_keys": ["the one before", PASSPHRASE]},
            {"encryption_key": laptop.public, "decryption_keys": [PASSPHRASE]},
            {"decryption_keys": [PASSPHRASE]},
        ):
            site.configure(**parameters)
            verify_backup()
        site.configure(encryption_key="a new one")
        with pytest.raises(EncryptionError, match=r"The passphrase of .* does not open the archive"):
            restore_backup()
        with descriptor(PASSPHRASE) as number:
            assert site.call("backup_restore", "--yes", "--passphrase-fd", number).code == 0
        assert titles(site) == ["Book 1"]

    @pytest.mark.parametrize("number", ["999", "-1"])
    def test_a_closed_descriptor_is_an_error(self, site: Site, sealed: Manifest, number: str) -> None:
        answer = site.call("backup_restore", "--yes", f"--passphrase-fd={number}")
        assert answer.code == 2
        assert "no text can be read there" in answer.stderr


class TestVerify:
    def test_without_the_private_key_the_unchecked_part_is_reported(
        self, site: Site, laptop: Laptop, sealed: Manifest
    ) -> None:
        """As on a server that is not to read its own backups: no failure, and not called good."""
        answer = site.call("backup_verify")
        assert answer.code == 0
        assert f"{sealed.name}: stored as it was written; what it holds cannot be checked here." in answer.stdout
        assert laptop.protected in answer.stdout
        assert "good" not in answer.stdout
        (result,) = site.call("backup_verify", "--json").json
        assert result["error"] is None
        assert "does not hold the private key" in result["unchecked"]
        with pytest.raises(KeyMissing):
            verify_backup()

    def test_with_the_private_key_the_backup_is_good(
        self, site: Site, laptop: Laptop, sealed: Manifest, key: Path
    ) -> None:
        with descriptor(laptop.PASSPHRASE) as number:
            answer = site.call("backup_verify", "--private-key", str(key), "--passphrase-fd", number)
        assert answer.stdout == f"{sealed.name}: good\n"

    def test_damage_is_reported_without_any_key(self, site: Site, sealed: Manifest) -> None:
        archive = site.backups / sealed.archive_key
        content = bytearray(archive.read_bytes())
        content[len(content) // 2] ^= 1
        archive.write_bytes(content)
        assert site.call("backup_verify").code == 1
        with pytest.raises(VerificationFailed, match="SHA-256 differs"):
            verify_backup()

    def test_a_given_key_that_does_not_fit_is_an_error(
        self, site: Site, laptop: Laptop, sealed: Manifest, tmp_path: Path
    ) -> None:
        other = tmp_path / "other.asc"
        other.write_text(laptop.home.private(laptop.good))
        answer = site.call("backup_verify", "--private-key", str(other))
        assert answer.code == 1
        assert f"{other} does not hold the private key" in answer.stderr

    def test_a_passphrase_that_is_not_configured_is_an_error(self, site: Site) -> None:
        site.configure(encryption_key=PASSPHRASE)
        site.create()
        site.configure()
        assert site.call("backup_verify").code == 1


class TestDownload:
    def test_a_plain_download_is_decrypted(self, site: Site, laptop: Laptop, sealed: Manifest, key: Path) -> None:
        with descriptor(laptop.PASSPHRASE) as number:
            answer = site.call(
                "backup_download", "latest", "--plain", "--to", str(site.root / "out"),
                "--private-key", str(key), "--passphrase-fd", number,
            )  # fmt: skip
        assert answer.code == 0, answer.stderr
        path = site.root / "out" / f"{sealed.name}.sqlite3"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sealed.archive.raw_sha256

    def test_a_plain_download_without_the_key_makes_no_file(self, site: Site, sealed: Manifest) -> None:
        answer = site.call("backup_download", "latest", "--plain", "--to", str(site.root / "out"))
        assert answer.code == 1
        assert "does not hold the private key" in answer.stderr
        assert not (site.root / "out").exists()

    def test_a_download_as_stored_needs_no_key(self, site: Site, sealed: Manifest) -> None:
        assert site.call("backup_download", "latest", "--to", str(site.root / "out")).code == 0
        assert (site.root / "out" / sealed.archive_key).exists()


@pytest.mark.usefixtures("notified")
class TestCheck:
    def test_a_passphrase_is_tested_by_encrypting_and_decrypting(self, site: Site) -> None:
        site.configure(encryption_key=PASSPHRASE)
        answer = site.call("backup_check")
        assert answer.code == 0
        assert "OK       encryption: with a passphrase: a probe was encrypted and decrypted\n" in answer.stdout

    def test_a_missing_private_key_is_ok(self, site: Site, laptop: Laptop) -> None:
        site.configure(encryption_key=laptop.public)
        answer = site.call("backup_check")
        assert answer.code == 0
        assert f"to {laptop.good}: a probe was encrypted; the private key is not on this machine" in answer.stdout

    def test_a_private_key_in_the_keyring_is_tested(
        self, site: Site, laptop: Laptop, server_home: Home, key: Path
    ) -> None:
        """The passphrase of a locked key is not asked for: the check may run unattended."""
        server_home.run("--import", given=laptop.home.private(laptop.good).encode())
        site.configure(encryption_key=laptop.good)
        assert "a probe was encrypted and decrypted" in site.call("backup_check").stdout
        server_home.run("--import", str(key))
        site.configure(encryption_key=laptop.protected)
        assert "the private key is on this machine, and locked" in site.call("backup_check").stdout

    def test_without_a_key_there_is_no_line(self, site: Site) -> None:
        assert "encryption" not in site.call("backup_check").stdout
