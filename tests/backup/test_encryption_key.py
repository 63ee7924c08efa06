"""The accepted and refused values of encryption_key, without gpg."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from django_cfg import BackupConfig
from django_cfg.backup.config.encryption_key import Fingerprints, Passphrase, PublicKeys, parse_encryption_key
from tests.support.gnupg_home import Laptop

DIGITS = "3D507FB307152CF11D6B28298622A8F0332C43BF"
GROUPED = "3D50 7FB3 0715 2CF1 1D6B  2829 8622 A8F0 332C 43BF"


def refusal(text: str) -> str:
    """Return the configuration's error for *text*; assert that it does not repeat *text*."""
    with pytest.raises(ValidationError) as caught:
        BackupConfig(encryption_key=text)
    (error,) = caught.value.errors()
    assert error["loc"] == ("encryption_key",)
    assert text not in str(caught.value)
    return str(error["msg"])


class TestPublicKeys:
    def test_a_block_is_a_public_key(self, laptop: Laptop) -> None:
        assert parse_encryption_key(laptop.public) == PublicKeys((laptop.public,))

    def test_several_blocks_are_several_public_keys(self, laptop: Laptop) -> None:
        """With anything between them, as a listing has it."""
        both = laptop.public + "\nthe recovery key:\n" + laptop.home.public(laptop.recovery)
        assert parse_encryption_key(both) == PublicKeys((laptop.public, laptop.home.public(laptop.recovery)))

    def test_indentation_and_windows_line_ends_do_not_matter(self, laptop: Laptop) -> None:
        indented = "".join(f"    {line}\r\n" for line in laptop.public.splitlines())
        assert parse_encryption_key(indented) == PublicKeys((laptop.public,))

    def test_a_block_without_its_checksum_is_a_public_key(self, laptop: Laptop) -> None:
        """RFC 9580 omits the checksum."""
        lines = [line for line in laptop.public.splitlines() if not line.startswith("=")]
        assert isinstance(parse_encryption_key("\n".join(lines)), PublicKeys)

    def test_headers_of_the_armour_are_ignored(self, laptop: Laptop) -> None:
        commented = laptop.public.replace("BLOCK-----\n", "BLOCK-----\nComment: of the shop\n", 1)
        assert isinstance(parse_encryption_key(commented), PublicKeys)

    def test_a_private_key_is_refused(self, laptop: Laptop) -> None:
        private = laptop.home.private(laptop.good)
        assert "it holds a private key, which must not lie on the server" in refusal(private)
        assert "it holds a private key" in refusal(laptop.public + private)

    @pytest.mark.parametrize(
        "broken",
        [
            lambda key: key.replace("-----END", "-----end"),
            lambda key: key[: len(key) // 2],
            lambda key: key[len(key) // 2 :],
            lambda key: key + key[: len(key) // 2],
            lambda key: key.replace("\n", "\\n"),
            lambda key: key.replace("\n", " "),
        ],
        ids=["no end", "first half", "second half", "one and a half", "escaped", "one line"],
    )
    def test_an_incomplete_block_is_refused(self, laptop: Laptop, broken: object) -> None:
        assert "is not complete" in refusal(broken(laptop.public))  # type: ignore[operator]

    def test_a_damaged_character_is_refused(self, laptop: Laptop) -> None:
        lines = laptop.public.splitlines()
        lines[3] = ("B" if lines[3][0] == "A" else "A") + lines[3][1:]
        assert "is damaged" in refusal("\n".join(lines))
        lines[3] = "?" + lines[3][1:]
        assert "is damaged" in refusal("\n".join(lines))

    def test_the_error_names_another_kind_of_block(self, laptop: Laptop) -> None:
        assert "it holds a PGP MESSAGE" in refusal(laptop.public.replace("PUBLIC KEY BLOCK", "MESSAGE"))

    def test_a_message_with_the_armour_of_a_key_is_refused(self, laptop: Laptop) -> None:
        sealed = laptop.home.run("--armor", "--trust-model=always", "-r", laptop.good, "-e", given=b"x").stdout.decode()
        assert "does not begin with a public key" in refusal(sealed.replace("MESSAGE", "PUBLIC KEY BLOCK"))


class TestFingerprints:
    @pytest.mark.parametrize("text", [DIGITS, DIGITS.lower(), f"0x{DIGITS}", GROUPED, f" {GROUPED}\n"])
    def test_forty_digits_are_a_fingerprint(self, text: str) -> None:
        """In every common notation."""
        assert parse_encryption_key(text) == Fingerprints((DIGITS,))

    @pytest.mark.parametrize("parting", [",", ", ", "\n", ";"])
    def test_several_fingerprints_are_several_keys(self, parting: str) -> None:
        assert parse_encryption_key(f"{GROUPED}{parting}{'A' * 40}") == Fingerprints((DIGITS, "A" * 40))

    @pytest.mark.parametrize(
        "text", [DIGITS[:-1], DIGITS + "0", GROUPED[:-5], GROUPED + " 0000", f"{DIGITS}, me", f"me\n{DIGITS}"]
    )
    def test_a_wrong_number_of_digits_is_refused(self, text: str) -> None:
        assert "looks like a fingerprint, which has 40 digits" in refusal(text)


class TestPassphrases:
    @pytest.mark.parametrize(
        "text",
        [
            "correct horse battery staple",
            "a" * 64,  # openssl rand -hex 32
            "0123456789abcdef0123456789abcdef",
            "kJ/8s+Zq0w==",
            "/9j4AAQSkZJRgABAQ+AAZABkAAD=",
            "ünïcödé 🔑",
            "cafe babe",
            "p@ssword",
            "${not a variable".replace("${", "$"),
            "x" * 255,
        ],
    )
    def test_any_other_text_is_a_passphrase(self, text: str) -> None:
        assert parse_encryption_key(text) == Passphrase(text)
        assert BackupConfig(encryption_key=text).encryption_key == text

    @pytest.mark.parametrize(
        ("text", "meaning"),
        [
            ("8622A8F0332C43BF", "a key id"),
            ("0x8622A8F0332C43BF", "a key id"),
            ("332C43BF", "a key id"),
            ("backup@example.org", "an e-mail address"),
            ("Shop Backups <backup@example.org>", "an e-mail address"),
            ("/etc/passwd", "the path of a file"),
            ("/run/secrets/not_mounted", "the path of a file"),
            ("~/backup key", "the path of a file"),
            ("../keys/backup", "the path of a file"),
            ("backup.asc", "the path of a file"),
            (".", "the path of a file"),
            ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI me@here", "a key of another program"),
            ("-----BEGIN RSA PRIVATE KEY-----\nMII=\n-----END RSA PRIVATE KEY-----", "a key of another program"),
            ("age1" + "q" * 58, "a key of another program"),
        ],
    )
    def test_text_that_looks_like_something_else_is_refused(self, text: str, meaning: str) -> None:
        """Used as a passphrase it would not be secret."""
        assert meaning in refusal(text)

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "it is empty"),
            (" \n ", "it is empty"),
            ("two\nlines", "one line"),
            ("a\0b", "one line"),
            ("a\tb", "one line"),
            (" in front", "neither begins nor ends with a space"),
            ("behind ", "neither begins nor ends with a space"),
            ("x" * 256, "at most 255 bytes"),
            ("ü" * 128, "at most 255 bytes"),
        ],
    )
    def test_text_that_gpg_or_a_person_cannot_enter_is_refused(self, text: str, reason: str) -> None:
        with pytest.raises(ValidationError, match=reason):
            BackupConfig(encryption_key=text)

    def test_a_passphrase_that_is_a_file_name_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert isinstance(parse_encryption_key("secret"), Passphrase)
        (tmp_path / "secret").touch()
        assert "the path of a file" in refusal("secret")


class TestFiles:
    @pytest.mark.parametrize("end", ["", "\n", "\r\n"])
    def test_a_mounted_secret_is_read(self, tmp_path: Path, end: str) -> None:
        """Without the final line break that editors add."""
        (tmp_path / "key").write_bytes(b"correct horse" + end.encode())
        assert BackupConfig(encryption_key=f"file:{tmp_path}/key").encryption_key == "correct horse"

    def test_a_public_key_is_read(self, tmp_path: Path, laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its path may come from a variable."""
        (tmp_path / "key.asc").write_text(laptop.public)
        monkeypatch.setenv("BACKUP_KEY_FILE", f"{tmp_path}/key.asc")
        made = BackupConfig(encryption_key="file:${BACKUP_KEY_FILE}")
        assert parse_encryption_key(made.encryption_key or "") == PublicKeys((laptop.public,))

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("key", "takes an absolute path"),
            ("/nowhere/key", "/nowhere/key it names cannot be read: No such file"),
            ("/", "cannot be read: Is a directory"),
        ],
    )
    def test_an_unreadable_file_is_refused(self, name: str, reason: str) -> None:
        with pytest.raises(ValidationError, match=reason):
            BackupConfig(encryption_key=f"file:{name}")

    def test_a_binary_key_is_refused(self, tmp_path: Path, laptop: Laptop) -> None:
        (tmp_path / "key.gpg").write_bytes(laptop.home.run("--export", laptop.good).stdout)
        assert "keys are exported with gpg --armor" in refusal(f"file:{tmp_path}/key.gpg")

    def test_the_content_of_the_file_is_validated(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_text("332C43BF")
        assert "looks like a key id" in refusal(f"file:{tmp_path}/key")


class TestEarlierPassphrases:
    def test_earlier_passphrases_are_listed(self, tmp_path: Path) -> None:
        """From files too; and values that earlier versions accepted."""
        (tmp_path / "old").write_text("older\n")
        made = BackupConfig(decryption_keys=["old one", f"file:{tmp_path}/old", "332C43BF"])
        assert made.decryption_keys == ["old one", "older", "332C43BF"]
        assert "old" not in repr(made)

    @pytest.mark.parametrize("kind", ["public", "private", "fingerprint", "empty", "lines"])
    def test_keys_are_no_earlier_passphrases(self, laptop: Laptop, kind: str) -> None:
        key = {
            "public": laptop.public,
            "private": laptop.home.private(laptop.good),
            "fingerprint": laptop.good,
            "empty": "",
            "lines": "a\nb",
        }[kind]
        with pytest.raises(ValidationError, match=r"decryption_keys cannot be used: (it holds a key|a passphrase is)"):
            BackupConfig(decryption_keys=[key])
