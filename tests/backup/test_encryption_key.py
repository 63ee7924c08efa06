"""What encryption_key may be, and what it is refused for: all of it without gpg."""

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
    """What the configuration says to *text*, which it does not repeat."""
    with pytest.raises(ValidationError) as caught:
        BackupConfig(encryption_key=text)
    (error,) = caught.value.errors()
    assert error["loc"] == ("encryption_key",)
    assert text not in str(caught.value)
    return str(error["msg"])


class TestPublicKeys:
    def test_a_block_is_a_public_key(self, laptop: Laptop) -> None:
        assert parse_encryption_key(laptop.public) == PublicKeys((laptop.public,))

    def test_several_blocks_are_several(self, laptop: Laptop) -> None:
        """With anything between them, as a listing has it."""
        both = laptop.public + "\nthe recovery key:\n" + laptop.home.public(laptop.recovery)
        assert parse_encryption_key(both) == PublicKeys((laptop.public, laptop.home.public(laptop.recovery)))

    def test_indentation_and_windows_line_ends_do_not_matter(self, laptop: Laptop) -> None:
        indented = "".join(f"    {line}\r\n" for line in laptop.public.splitlines())
        assert parse_encryption_key(indented) == PublicKeys((laptop.public,))

    def test_a_block_without_its_checksum_is_one(self, laptop: Laptop) -> None:
        """RFC 9580 drops it."""
        lines = [line for line in laptop.public.splitlines() if not line.startswith("=")]
        assert isinstance(parse_encryption_key("\n".join(lines)), PublicKeys)

    def test_headers_of_the_armour_are_passed_over(self, laptop: Laptop) -> None:
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
    def test_a_block_that_is_not_whole_is_refused(self, laptop: Laptop, broken: object) -> None:
        assert "is not complete" in refusal(broken(laptop.public))  # type: ignore[operator]

    def test_a_damaged_letter_is_noticed(self, laptop: Laptop) -> None:
        lines = laptop.public.splitlines()
        lines[3] = ("B" if lines[3][0] == "A" else "A") + lines[3][1:]
        assert "is damaged" in refusal("\n".join(lines))
        lines[3] = "?" + lines[3][1:]
        assert "is damaged" in refusal("\n".join(lines))

    def test_another_kind_of_block_is_named(self, laptop: Laptop) -> None:
        assert "it holds a PGP MESSAGE" in refusal(laptop.public.replace("PUBLIC KEY BLOCK", "MESSAGE"))

    def test_a_message_in_the_clothes_of_a_key_is_refused(self, laptop: Laptop) -> None:
        sealed = laptop.home.run("--armor", "--trust-model=always", "-r", laptop.good, "-e", given=b"x").stdout.decode()
        assert "does not begin with a public key" in refusal(sealed.replace("MESSAGE", "PUBLIC KEY BLOCK"))


class TestFingerprints:
    @pytest.mark.parametrize("text", [DIGITS, DIGITS.lower(), f"0x{DIGITS}", GROUPED, f" {GROUPED}\n"])
    def test_forty_digits_are_one(self, text: str) -> None:
        """In any way people write them."""
        assert parse_encryption_key(text) == Fingerprints((DIGITS,))

    @pytest.mark.parametrize("parting", [",", ", ", "\n", ";"])
    def test_several_are_several(self, parting: str) -> None:
        assert parse_encryption_key(f"{GROUPED}{parting}{'A' * 40}") == Fingerprints((DIGITS, "A" * 40))

    @pytest.mark.parametrize(
        "text", [DIGITS[:-1], DIGITS + "0", GROUPED[:-5], GROUPED + " 0000", f"{DIGITS}, me", f"me\n{DIGITS}"]
    )
    def test_a_digit_too_few_or_too_many_is_told(self, text: str) -> None:
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
    def test_anything_else_is_one(self, text: str) -> None:
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
    def test_what_was_meant_otherwise_is_refused(self, text: str, meaning: str) -> None:
        """As a passphrase it would be one that others know."""
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
    def test_what_gpg_or_a_person_could_not_type_is_refused(self, text: str, reason: str) -> None:
        with pytest.raises(ValidationError, match=reason):
            BackupConfig(encryption_key=text)

    def test_an_existing_file_of_that_name_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert isinstance(parse_encryption_key("secret"), Passphrase)
        (tmp_path / "secret").touch()
        assert "the path of a file" in refusal("secret")


class TestFiles:
    @pytest.mark.parametrize("end", ["", "\n", "\r\n"])
    def test_a_mounted_secret_is_read(self, tmp_path: Path, end: str) -> None:
        """Without the line break that editors put at its end."""
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
    def test_one_that_is_not_there_is_told(self, name: str, reason: str) -> None:
        with pytest.raises(ValidationError, match=reason):
            BackupConfig(encryption_key=f"file:{name}")

    def test_a_binary_key_is_told(self, tmp_path: Path, laptop: Laptop) -> None:
        (tmp_path / "key.gpg").write_bytes(laptop.home.run("--export", laptop.good).stdout)
        assert "keys are exported with gpg --armor" in refusal(f"file:{tmp_path}/key.gpg")

    def test_what_the_file_holds_is_judged_too(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_text("332C43BF")
        assert "looks like a key id" in refusal(f"file:{tmp_path}/key")


class TestEarlierPassphrases:
    def test_they_are_listed(self, tmp_path: Path) -> None:
        """From files too; and whatever once was accepted."""
        (tmp_path / "old").write_text("older\n")
        made = BackupConfig(decryption_keys=["old one", f"file:{tmp_path}/old", "332C43BF"])
        assert made.decryption_keys == ["old one", "older", "332C43BF"]
        assert "old" not in repr(made)

    @pytest.mark.parametrize("kind", ["public", "private", "fingerprint", "empty", "lines"])
    def test_keys_are_refused(self, laptop: Laptop, kind: str) -> None:
        key = {
            "public": laptop.public,
            "private": laptop.home.private(laptop.good),
            "fingerprint": laptop.good,
            "empty": "",
            "lines": "a\nb",
        }[kind]
        with pytest.raises(ValidationError, match=r"decryption_keys cannot be used: (it holds a key|a passphrase is)"):
            BackupConfig(decryption_keys=[key])
