"""Encryption and decryption with gpg: plain gpg reads what is written, memory is bounded, nothing is left behind."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from django_cfg.backup.errors import EncryptionError, KeyMissing, UsageError
from django_cfg.backup.pipeline.encryption.encrypt import open_encryptor
from django_cfg.backup.pipeline.encryption.keyring import DecryptionKeys, is_locked
from tests.support.gnupg_home import Home, Laptop
from tests.support.processes import children, threads, wait_until
from tests.support.sealed_bytes import PASSPHRASE, processes_in, seal, unseal

PLAIN = random.Random(6).randbytes(300_000)


def private_key(laptop: Laptop, fingerprint: str, folder: Path) -> Path:
    path = folder / "private.asc"
    path.write_text(laptop.home.private(fingerprint, laptop.PASSPHRASE if fingerprint == laptop.protected else ""))
    return path


class TestPlainGpg:
    """No option but --decrypt, and no word of this package."""

    @pytest.mark.parametrize("size", [1, 300_000])
    def test_gpg_decrypts_with_the_private_key(self, laptop: Laptop, size: int) -> None:
        sealed, _ = seal(PLAIN[:size], laptop.public)
        done = subprocess.run(
            ["gpg", "--decrypt"], env=laptop.home.environment, input=sealed, capture_output=True, check=True
        )
        assert done.stdout == PLAIN[:size]

    @pytest.mark.parametrize("passphrase", [PASSPHRASE, "x" * 255, "pässword ünïcödé"])
    def test_gpg_decrypts_with_the_passphrase(self, server_home: Home, passphrase: str) -> None:
        """Typed into its own prompt."""
        sealed, _ = seal(PLAIN, passphrase)
        server_home.answer_with(passphrase)
        done = subprocess.run(["gpg", "--decrypt"], input=sealed, capture_output=True, check=True)
        assert done.stdout == PLAIN

    @pytest.mark.usefixtures("slow_passphrases")
    @pytest.mark.parametrize("by", ["public key", "passphrase"])
    def test_the_form_is_aes256_with_integrity_protection(self, laptop: Laptop, by: str) -> None:
        """RFC 4880, uncompressed, and as slow as OpenPGP allows to guess passphrases."""
        sealed, _ = seal(PLAIN, laptop.public if by == "public key" else PASSPHRASE)
        secret = ["--pinentry-mode=loopback", f"--passphrase={PASSPHRASE}"]
        listed = laptop.home.run(*secret, "--status-fd=1", "--verbose", "--list-packets", given=sealed)
        listing = listed.stdout.decode()
        assert "mdc_method: 2" in listing
        assert "[GNUPG:] DECRYPTION_INFO 2 9" in listing  # 9 is AES-256
        assert "compressed packet" not in listing
        if by == "passphrase":
            assert "s2k 3, hash 10" in listing
            assert "count 65011712" in listing


class TestOpening:
    def test_the_configured_passphrase_decrypts(self) -> None:
        assert unseal(*seal(PLAIN), DecryptionKeys((PASSPHRASE,))) == PLAIN

    def test_an_earlier_passphrase_decrypts(self) -> None:
        """Whichever it is of several."""
        assert unseal(*seal(PLAIN), DecryptionKeys(("newest", PASSPHRASE, "oldest"))) == PLAIN

    @pytest.mark.parametrize(("keys", "message"), [(("a", "b"), "None of the 2 passphrases"), ((), "none is configur")])
    def test_a_wrong_passphrase_is_an_error(self, keys: tuple[str, ...], message: str) -> None:
        with pytest.raises(EncryptionError, match=message):
            unseal(*seal(PLAIN), DecryptionKeys(keys))

    def test_the_users_keyring_decrypts(self, laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
        sealed, facts = seal(PLAIN, laptop.public)
        assert (facts.method, facts.recipients) == ("public-key", (laptop.good,))
        monkeypatch.setenv("GNUPGHOME", str(laptop.home.folder))
        assert unseal(sealed, facts, DecryptionKeys(), 7919) == PLAIN

    def test_each_of_several_recipients_can_decrypt(self, laptop: Laptop, tmp_path: Path) -> None:
        """A recovery key is a second recipient."""
        sealed, facts = seal(PLAIN, laptop.public + laptop.home.public(laptop.recovery))
        assert facts.recipients == (laptop.good, laptop.recovery)
        for fingerprint in facts.recipients:
            assert (
                unseal(sealed, facts, DecryptionKeys(private_key=private_key(laptop, fingerprint, tmp_path))) == PLAIN
            )

    def test_a_protected_private_key_decrypts_with_its_passphrase(self, laptop: Laptop, tmp_path: Path) -> None:
        sealed, facts = seal(PLAIN, laptop.home.public(laptop.protected))
        path = private_key(laptop, laptop.protected, tmp_path)
        assert unseal(sealed, facts, DecryptionKeys(private_key=path, unlocking=laptop.PASSPHRASE)) == PLAIN
        for wrong in ("wrong", None, ""):
            with pytest.raises(EncryptionError, match="could not be unlocked"):
                unseal(sealed, facts, DecryptionKeys(private_key=path, unlocking=wrong))

    def test_a_protected_key_of_the_keyring_decrypts_through_its_agent(
        self, laptop: Laptop, server_home: Home, tmp_path: Path
    ) -> None:
        """The agent asks for the passphrase, or gets it from the package."""
        sealed, facts = seal(PLAIN, laptop.home.public(laptop.protected))
        server_home.run("--import", str(private_key(laptop, laptop.protected, tmp_path)))
        with pytest.raises(EncryptionError, match="could not be unlocked"):
            unseal(sealed, facts, DecryptionKeys(may_ask=False))
        assert unseal(sealed, facts, DecryptionKeys(unlocking=laptop.PASSPHRASE)) == PLAIN
        server_home.answer_with(laptop.PASSPHRASE)
        assert unseal(sealed, facts, DecryptionKeys()) == PLAIN

    def test_the_error_for_a_missing_private_key_names_the_recipients(self, laptop: Laptop, tmp_path: Path) -> None:
        """With a keyring and without any, and when the file holds another key."""
        sealed, facts = seal(PLAIN, laptop.public)
        other = private_key(laptop, laptop.recovery, tmp_path)
        for keys in (DecryptionKeys(), DecryptionKeys(private_key=other)):
            with pytest.raises(KeyMissing, match=laptop.good):
                unseal(sealed, facts, keys)

    def test_no_keyring_is_created(self, laptop: Laptop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sealed, facts = seal(PLAIN, laptop.public)
        monkeypatch.setenv("GNUPGHOME", str(tmp_path / "none"))
        with pytest.raises(KeyMissing, match="does not hold the private key"):
            unseal(sealed, facts, DecryptionKeys())
        assert not (tmp_path / "none").exists()

    @pytest.mark.parametrize("content", ["public", "garbage", "nothing"])
    def test_a_file_without_a_private_key_is_an_error(self, laptop: Laptop, tmp_path: Path, content: str) -> None:
        sealed, facts = seal(PLAIN, laptop.public)
        path = tmp_path / "key"
        path.write_text({"public": laptop.public, "garbage": "garbage", "nothing": ""}[content])
        with pytest.raises(EncryptionError, match=f"{path} holds no private key"):
            unseal(sealed, facts, DecryptionKeys(private_key=path))

    def test_a_missing_file_is_an_error(self, laptop: Laptop, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="nosuch cannot be read"):
            unseal(*seal(PLAIN, laptop.public), DecryptionKeys(private_key=tmp_path / "nosuch"))

    def test_a_protected_key_file_is_recognised(self, laptop: Laptop, tmp_path: Path) -> None:
        assert is_locked(private_key(laptop, laptop.protected, tmp_path))
        assert not is_locked(private_key(laptop, laptop.good, tmp_path))


class TestNothingIsLeft:
    def test_no_home_agent_child_process_or_thread_is_left(
        self, laptop: Laptop, temporary: Path, tmp_path: Path
    ) -> None:
        """After success and after an error, encrypting and decrypting."""
        before, ours = threads(), children()
        path = private_key(laptop, laptop.protected, tmp_path)
        sealed, facts = seal(PLAIN, laptop.home.public(laptop.protected))
        unseal(sealed, facts, DecryptionKeys(private_key=path, unlocking=laptop.PASSPHRASE))
        with pytest.raises(EncryptionError):
            unseal(sealed, facts, DecryptionKeys(private_key=path, unlocking="wrong"))
        with (
            pytest.raises(KeyboardInterrupt),
            open_encryptor(laptop.public) as encryptor,
            encryptor.into(sys.stderr.buffer),
        ):
            raise KeyboardInterrupt
        assert list(temporary.iterdir()) == []
        wait_until(lambda: not processes_in(temporary))
        assert children() <= ours
        assert threads() <= before

    def test_the_home_of_a_killed_process_is_removed_by_the_next(self, laptop: Laptop, temporary: Path) -> None:
        """Its home with the private key in it, and the agent that still runs there."""
        script = (
            "import sys, tempfile, os\n"
            "from pathlib import Path\n"
            "from django_cfg.backup.pipeline.encryption.keyring import DecryptionKeys, keyring\n"
            f"tempfile.tempdir = {str(temporary)!r}\n"
            "with keyring(DecryptionKeys(private_key=Path(sys.argv[1]))) as gpg:\n"
            "    os.kill(os.getpid(), 9)\n"
        )
        path = private_key(laptop, laptop.good, temporary)
        done = subprocess.run([sys.executable, "-c", script, path], check=False)
        assert done.returncode == -9
        (left,) = temporary.glob("django-cfg-gpg-*")
        assert processes_in(left)
        seal(b"", laptop.public)
        assert list(temporary.iterdir()) == [path]
        wait_until(lambda: not processes_in(temporary))

    def test_the_home_of_a_running_process_stays(self, temporary: Path) -> None:
        with open_encryptor(PASSPHRASE):
            (home,) = temporary.iterdir()
            seal(b"")
            assert list(temporary.iterdir()) == [home]
            assert home.stat().st_mode & 0o777 == 0o700

    def test_a_long_temporary_path_is_accepted(
        self, laptop: Laptop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The path of the agent's socket would be too long."""
        long = tmp_path / ("x" * 60)
        long.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(long))
        path = private_key(laptop, laptop.good, tmp_path)
        assert unseal(*seal(PLAIN, laptop.public), DecryptionKeys(private_key=path)) == PLAIN
