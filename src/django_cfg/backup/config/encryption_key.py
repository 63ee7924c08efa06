"""What ``encryption_key`` may be, distinguished without gpg: public keys, a fingerprint, or a passphrase.

A passphrase may be almost anything, so what looks like a key that was meant otherwise - a key id, an
e-mail address, a path - is refused: as a passphrase it would be one that others know.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from django_cfg.backup.config import pgp_armor

FILE = "file:"
SHORTEST_SIGNING_KEY = 16  # characters
LONGEST = 255  # bytes of a passphrase: what gpg's own prompt takes


@dataclass(frozen=True)
class PublicKeys:
    """Armored public keys, one or more recipients each."""

    blocks: tuple[str, ...]


@dataclass(frozen=True)
class Fingerprints:
    """Keys in the keyring of the user who makes the backups; 40 upper-case digits each."""

    fingerprints: tuple[str, ...]


@dataclass(frozen=True)
class Passphrase:
    text: str = field(repr=False)


EncryptionKey = PublicKeys | Fingerprints | Passphrase

_HEX = re.compile(r"(0x)?[0-9A-Fa-f]+")
_ADDRESS = re.compile(r"(.*<)?[\w.+-]+@[\w-]+(\.[\w-]+)+>?")
_PATH = re.compile(r"(/[\w.-]+){2,}/?|(~|\.{1,2})/.*|\S*\.(asc|gpg|pgp|pub|pem|key)")
_OTHER_KEYS = re.compile(r"-----BEGIN |ssh-\w+ AAAA|ecdsa-sha2-\S+ AAAA|age1[a-z0-9]{50,}$|AGE-SECRET-KEY-")


def read_secret(value: str) -> str:
    """*value*, or what the file holds that ``file:/path`` names, without its last line break.

    :raises ValueError: the file cannot be read.
    """
    if not value.startswith(FILE):
        return value
    path = Path(value.removeprefix(FILE))
    if not path.is_absolute():
        raise ValueError(f"{FILE} takes an absolute path, as in {FILE}/run/secrets/backup_key")
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"the file {path} it names cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"the file {path} it names holds no text; keys are exported with gpg --armor") from None
    return content.removesuffix("\n").removesuffix("\r")


def usable_secret(parameter: str, value: str, parse: Callable[[str], object]) -> str:
    """Return the secret *value*, from its file where it names one.

    :raises ValueError: the file cannot be read, or *parse* does not understand the secret; neither shows it.
    """
    try:
        text = read_secret(value)
        parse(text)
    except ValueError as error:
        raise ValueError(f"{parameter} cannot be used: {error}") from None
    return text


def parse_encryption_key(text: str) -> EncryptionKey:
    """
    :raises ValueError: *text* is none of the three; the message does not show it.
    """
    if not text.strip():
        raise ValueError("it is empty: give a key, or None for backups without encryption")
    if pgp_armor.is_armored(text):
        return PublicKeys(pgp_armor.public_keys(text))
    if found := _fingerprints(text):
        return Fingerprints(found)
    return parse_passphrase(text)


def parse_passphrase(text: str) -> Passphrase:
    """
    :raises ValueError: *text* is unfit for a passphrase, or means something else.
    """
    for looks_so, meant in _MISTAKES:
        if looks_so(text):
            raise ValueError(f"{meant}; if it is meant as a passphrase, choose another")
    if not text.isprintable():
        raise ValueError("a passphrase is one line without control characters")
    if text != text.strip():
        raise ValueError("a passphrase neither begins nor ends with a space, which cannot be seen when it is typed")
    if len(text.encode()) > LONGEST:
        raise ValueError(f"a passphrase has at most {LONGEST} bytes: gpg's prompt takes no more")
    return Passphrase(text)


def parse_signing_key(text: str) -> str:
    """
    :raises ValueError: *text* is too short for a secret, or no line of text.
    """
    if not text.isprintable() or text != text.strip():
        raise ValueError("it is one line, without control characters and without spaces around it")
    if len(text) < SHORTEST_SIGNING_KEY:
        raise ValueError(
            f"it has fewer than {SHORTEST_SIGNING_KEY} characters; `openssl rand -hex 32` makes a good one"
        )
    return text


def parse_earlier_passphrase(text: str) -> Passphrase:
    """One that opens old archives. It was fit when they were made, so only what cannot be one is refused.

    :raises ValueError: *text* is a key, or no line of text.
    """
    if pgp_armor.is_armored(text) or _fingerprints(text):
        raise ValueError("it holds a key, and earlier passphrases are wanted; private keys are found in the keyring")
    if not text or not text.isprintable():
        raise ValueError("a passphrase is one line, without control characters and not empty")
    return Passphrase(text)


def _fingerprints(text: str) -> tuple[str, ...]:
    """The fingerprints *text* consists of; they are parted by commas or line breaks. Empty: it is something else."""
    parts = [_digits(part) for part in re.split(r"[,;\n]", text) if part.strip()]
    return tuple(parts) if all(len(part) == 40 and _HEX.fullmatch(part) for part in parts) else ()


def _digits(text: str) -> str:
    """A fingerprint without what people write into it."""
    return re.sub(r"\s", "", text).removeprefix("0x").upper()


def _is_key_id(text: str) -> bool:
    return bool(_HEX.fullmatch(text)) and len(_digits(text)) in (8, 16)


def _is_wrong_fingerprint(text: str) -> bool:
    """Some digits too few or too many, or grouped as gpg prints them, or one of several."""
    parts = [_digits(part) for part in re.split(r"[,;\n]", text)]
    grouped = re.fullmatch(r"([0-9A-Fa-f]{4}\s+){3,}[0-9A-Fa-f]{1,4}", text.strip())
    near = bool(_HEX.fullmatch(parts[0])) and 36 <= len(parts[0]) <= 44
    return near or bool(grouped) or any(len(part) == 40 and _HEX.fullmatch(part) for part in parts)


def _is_address(text: str) -> bool:
    return bool(_ADDRESS.fullmatch(text.strip()))


def _is_path(text: str) -> bool:
    if _PATH.fullmatch(text.strip()):
        return True
    try:
        return Path(text.strip()).exists()
    except (OSError, ValueError):  # too long, or it holds a null: no path
        return False


def _is_other_key(text: str) -> bool:
    return bool(_OTHER_KEYS.search(text))


_MISTAKES: tuple[tuple[Callable[[str], bool], str], ...] = (
    (_is_other_key, "it is a key of another program: an OpenPGP key is wanted (gpg --armor --export)"),
    (_is_wrong_fingerprint, "it looks like a fingerprint, which has 40 digits (gpg --fingerprint)"),
    (_is_key_id, "it looks like a key id, which several keys may share: give the fingerprint of 40 digits"),
    (_is_address, "it looks like an e-mail address, which several keys may bear: give the key or its fingerprint"),
    (_is_path, f"it looks like the path of a file: write {FILE}/path to have the file read"),
)
