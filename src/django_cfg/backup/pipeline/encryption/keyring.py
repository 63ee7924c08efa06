"""Where private keys are: the user's own keyring, or a file that is read into a private home."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from django_cfg.backup.errors import EncryptionError, UsageError
from django_cfg.backup.pipeline.encryption.gpg import Gpg
from django_cfg.backup.pipeline.encryption.gpg_home import private_gpg_home


@dataclass(frozen=True)
class DecryptionKeys:
    """What archives may be opened with."""

    passphrases: tuple[str, ...] = field(default=(), repr=False)  # of archives; tried in turn
    private_key: Path | None = None  # a file; None: the keyring of the user
    unlocking: str | None = field(default=None, repr=False)  # the passphrase of the private key; None: ask the agent
    may_ask: bool = True  # whether gpg's agent may ask for it

    @property
    def pinentry(self) -> str:
        """How gpg comes by the passphrase of the private key."""
        if self.private_key or self.unlocking is not None:
            return "loopback"  # from us or not at all
        return "ask" if self.may_ask else "cancel"


USERS_KEYRING = DecryptionKeys()


def user_home() -> Path:
    """Return the home that gpg uses by default."""
    return Path(os.environ.get("GNUPGHOME") or "~/.gnupg").expanduser()


@contextmanager
def keyring(keys: DecryptionKeys) -> Iterator[Gpg | None]:
    """gpg with the private keys there are; None: there are none at all.

    :raises EncryptionError: the file holds no private key.
    """
    if keys.private_key is None:
        yield Gpg() if user_home().is_dir() else None
        return
    content = _content(keys.private_key)
    with private_gpg_home() as home:
        gpg = Gpg(home)
        _import(gpg, content, keys.private_key)
        yield gpg


def holds_any(gpg: Gpg, key_ids: Collection[str]) -> bool:
    """Whether a private key of these ids, of 16 digits each, is there itself and not only known of."""
    listed = gpg.ask("--with-colons", "--list-secret-keys", *key_ids)
    records = [line.split(":") for line in listed.lines]
    return any(record[0] in ("sec", "ssb") and record[4] in key_ids and record[14] != "#" for record in records)


def holds_private_key_of(recipients: Collection[str]) -> bool:
    """Whether the user's keyring holds a private key that decrypts what was encrypted to one of these fingerprints."""
    if not recipients or not user_home().is_dir():
        return False
    listed = Gpg().ask("--with-colons", "--list-secret-keys", *recipients)
    records = [line.split(":") for line in listed.lines]
    return any(record[0] in ("sec", "ssb") and "e" in record[11] and record[14] != "#" for record in records)


def is_locked(private_key: Path) -> bool:
    """Whether the private key in a file wants a passphrase."""
    with private_gpg_home() as home:
        listed = Gpg(home, may_start_agent=False).ask("--list-packets", given=_content(private_key))
        return any("protected]" in line for line in listed.lines)


def _import(gpg: Gpg, content: bytes, path: Path) -> None:
    answer = gpg.ask("--import", given=content)
    counts = " ".join(answer.arguments_of("IMPORT_RES")).split()
    if not counts or int(counts[9]) == 0:
        raise EncryptionError(
            f"{path} holds no private key that gpg can read ({answer.last_words or 'only a public one'}): "
            "make it with gpg --armor --export-secret-keys."
        )


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"The private key {path} cannot be read: {error.strerror}.") from None
