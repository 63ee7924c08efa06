"""Encryption fails closed: with an unusable key or a missing or failing gpg, nothing is stored unencrypted."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from django_cfg.backup import create_backup
from django_cfg.backup.errors import BackupError, EncryptionError, StorageError, ToolNotFound
from django_cfg.backup.models import Run
from django_cfg.backup.pipeline.encryption import gpg_home
from tests.support.django_project import Site
from tests.support.gnupg_home import LONG_AGO, Home, Laptop
from tests.support.sealed_bytes import PASSPHRASE

pytestmark = pytest.mark.usefixtures("books")


@dataclass(frozen=True)
class UnusableKeys:
    """Keys to which nothing may be encrypted."""

    home: Home
    expired: str
    revoked: str
    signing_only: str
    old_subkey: str


@pytest.fixture(scope="module")
def unusable_keys() -> Iterator[UnusableKeys]:
    keys = Home()
    found = UnusableKeys(
        keys,
        expired=keys.make("expired", kind=("future-default", "default", "1y"), at=LONG_AGO),
        revoked=keys.make("revoked"),
        signing_only=keys.make("signing", kind=("ed25519", "sign", "never")),
        old_subkey=keys.make("subkey", kind=("ed25519", "cert", "never"), at=LONG_AGO),
    )
    certificate = keys.folder / "openpgp-revocs.d" / f"{found.revoked}.rev"
    keys.run("--import", given=certificate.read_bytes().replace(b":-----BEGIN", b"-----BEGIN"))
    secret = ("--pinentry-mode=loopback", "--passphrase=", f"--faked-system-time={LONG_AGO}")
    keys.run(*secret, "--quick-add-key", found.old_subkey, "cv25519", "encr", "1y")
    yield found
    keys.remove()


def refused(site: Site, kind: type[BackupError] = EncryptionError) -> str:
    """Return the error of backup_create and backup_check; nothing is stored, and the run is recorded as failed."""
    with pytest.raises(kind) as caught:
        create_backup()
    assert not site.backups.exists() or site.stored() == []
    assert Run.objects.get().state == "failed"
    answer = site.call("backup_check")
    assert answer.code == 1
    assert "FAILED   encryption: " in answer.stdout
    return str(caught.value)


class TestKeys:
    @pytest.mark.parametrize(
        ("which", "fault"),
        [
            ("expired", "expired on 2020-12-31"),
            ("revoked", "is revoked"),
            ("signing_only", "can only sign"),
            ("old_subkey", "has no encryption subkey that is still good"),
        ],
    )
    @pytest.mark.parametrize("way", ["block", "fingerprint", "with a good one"])
    def test_an_unusable_key_is_refused(
        self,
        site: Site,
        unusable_keys: UnusableKeys,
        laptop: Laptop,
        server_home: Home,
        which: str,
        fault: str,
        way: str,
    ) -> None:
        fingerprint = getattr(unusable_keys, which)
        block = unusable_keys.home.public(fingerprint)
        server_home.run("--import", given=block.encode())
        site.configure(
            encryption_key={"block": block, "fingerprint": fingerprint, "with a good one": laptop.public + block}[way]
        )
        message = refused(site)
        assert fingerprint in message
        assert fault in message

    def test_a_key_that_is_not_in_the_keyring_is_refused(self, site: Site, laptop: Laptop) -> None:
        site.configure(encryption_key=laptop.good)
        assert f"names the key {laptop.good}, which is not in the keyring" in refused(site)

    def test_a_fingerprint_without_a_keyring_is_refused(
        self, site: Site, laptop: Laptop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GNUPGHOME", str(tmp_path / "none"))
        site.configure(encryption_key=laptop.good)
        assert "which is not in the keyring" in refused(site)
        assert not (tmp_path / "none").exists()

    def test_a_key_that_is_disabled_in_the_keyring_is_refused(
        self, site: Site, laptop: Laptop, server_home: Home
    ) -> None:
        server_home.run("--import", given=laptop.public.encode())
        server_home.run("--command-fd=0", "--edit-key", laptop.good, given=b"disable\nsave\n")
        site.configure(encryption_key=laptop.good)
        assert "is disabled in the keyring" in refused(site)

    def test_a_key_that_gpg_cannot_import_is_refused(self, site: Site) -> None:
        """Complete armour around bytes that are no key."""
        body = base64.b64encode(b"\x99\x01\x0d" + bytes(269)).decode()
        site.configure(
            encryption_key=f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{body}\n-----END PGP PUBLIC KEY BLOCK-----"
        )
        assert "gpg cannot import public key 1 of encryption_key" in refused(site)

    def test_a_key_without_a_user_id_is_refused(self, site: Site, laptop: Laptop) -> None:
        """As some key servers publish them; among other keys gpg would skip it."""
        bare = laptop.home.run("--armor", "--export-filter=keep-uid=uid=none", "--export", laptop.recovery).stdout
        site.configure(encryption_key=laptop.public + bare.decode())
        assert "a key in it has no user id" in refused(site)


@pytest.mark.usefixtures("notified")
class TestExpiry:
    @pytest.mark.parametrize("days", [29, 31])
    def test_a_key_that_expires_within_thirty_days_is_a_warning(
        self, site: Site, server_home: Home, caplog: pytest.LogCaptureFixture, days: int
    ) -> None:
        """It is logged, printed by backup_create and by backup_check, while backups still succeed."""
        fingerprint = server_home.make("soon", kind=("future-default", "default", f"{days}d"))
        site.configure(encryption_key=server_home.public(fingerprint))
        created = site.call("backup_create")
        assert created.code == 0
        message = f"The key {fingerprint} (soon <soon@example.org>) in encryption_key expires on "
        assert (message in created.stderr) is (days == 29)
        assert (message in caplog.text) is (days == 29)
        answer = site.call("backup_check")
        assert answer.code == (4 if days == 29 else 0)
        assert (f"WARNING  encryption: {message}" in answer.stdout) is (days == 29)

    def test_the_expiry_of_the_only_encryption_subkey_counts(self, site: Site, server_home: Home) -> None:
        fingerprint = server_home.make("main", kind=("ed25519", "cert", "never"))
        secret = ("--pinentry-mode=loopback", "--passphrase=")
        server_home.run(*secret, "--quick-add-key", fingerprint, "cv25519", "encr", "5d")
        site.configure(encryption_key=fingerprint)
        assert site.call("backup_check").code == 4
        server_home.run(*secret, "--quick-add-key", fingerprint, "cv25519", "encr", "1y")
        assert site.call("backup_check").code == 0


# gpg as it is, until it encrypts for the second time: the first is the trial before the dump.
DYING = """\
#!/bin/sh
case "$*" in *--symmetric*|*--encrypt*)
    if [ -e {folder}/tried ]; then {death}; fi
    touch {folder}/tried ;;
esac
exec {gpg} "$@"
"""


def fill(folder: Path) -> None:
    """Until not one more block fits."""
    with (folder / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))


class TestProgram:
    def test_a_missing_gpg_fails_the_backup(self, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        site.configure(encryption_key=PASSPHRASE)
        (tmp_path / "bin").mkdir()
        with monkeypatch.context() as patch:
            patch.setenv("PATH", str(tmp_path / "bin"))
            assert "gpg is not installed" in refused(site, ToolNotFound)

    @pytest.mark.parametrize("compression", ["gzip", "zstd", "bz2", "none"])
    @pytest.mark.parametrize(
        ("death", "message"),
        [
            ("head -c 9 > /dev/null; kill -9 $$", "was killed by signal 9"),
            ("kill -9 $$", "was killed by signal 9"),
            ("cat > /dev/null; echo too hot >&2; exit 2", "ended with exit code 2: too hot"),
        ],
        ids=["half-way", "at once", "at the end"],
    )
    def test_a_gpg_that_dies_publishes_nothing(
        self, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str, death: str, message: str
    ) -> None:
        programs = tmp_path / "bin"
        programs.mkdir()
        script = DYING.format(folder=programs, death=death, gpg=shutil.which("gpg"))
        (programs / "gpg").write_text(script)
        (programs / "gpg").chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        site.configure(encryption_key=PASSPHRASE, compression=compression)
        with pytest.raises(EncryptionError, match=message):
            create_backup()
        assert site.stored() == []
        assert Run.objects.get().state == "failed"

    def test_a_gpg_that_refuses_everything_is_an_error(
        self, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An old one, say, that does not know an option."""
        (tmp_path / "gpg").write_text("#!/bin/sh\necho 'invalid option' >&2\nexit 2\n")
        (tmp_path / "gpg").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        site.configure(encryption_key=PASSPHRASE)
        assert "invalid option" in refused(site)

    def test_no_room_for_a_private_home_fails_the_backup(
        self, site: Site, small_disk: Path, monkeypatch: pytest.MonkeyPatch, laptop: Laptop
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(small_disk))
        monkeypatch.setattr(gpg_home, "_LONGEST", 1000)  # no agent is needed for a public key
        fill(small_disk)
        site.configure(encryption_key=laptop.public)
        refused(site, BackupError)

    def test_a_full_storage_is_left_empty(self, site: Site, small_disk: Path) -> None:
        (small_disk / "filler").write_bytes(bytes(1_000_000))
        site.configure(
            encryption_key=PASSPHRASE, storage={"local_path": str(small_disk / "backups")}, compression="none"
        )
        with pytest.raises(StorageError):
            create_backup()
        assert [path.name for path in small_disk.rglob("*") if path.is_file()] == ["filler"]
