"""Whom a backup is encrypted to: public keys, each found usable before anything is dumped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django_cfg.backup.config.encryption_key import Fingerprints, PublicKeys
from django_cfg.backup.errors import EncryptionError
from django_cfg.backup.pipeline.encryption.gpg import Gpg
from django_cfg.backup.pipeline.encryption.keyring import user_home

SOON = timedelta(days=30)
_NO_HARM = "Nothing was stored."


@dataclass(frozen=True)
class _Part:
    """A key or a subkey, as ``--with-colons`` lists it."""

    validity: str  # e: expired, r: revoked, i: invalid
    expires: datetime | None
    capabilities: str  # small letters: its own; capital ones: of the entire key

    @property
    def encrypts(self) -> bool:
        return "e" in self.capabilities

    @property
    def is_good(self) -> bool:
        return self.validity not in ("e", "r", "i")


@dataclass(frozen=True)
class Recipient:
    """A public key with its subkeys."""

    fingerprint: str
    name: str
    main: _Part
    subkeys: tuple[_Part, ...]

    def __str__(self) -> str:
        return f"{self.fingerprint} ({self.name})" if self.name else self.fingerprint

    @property
    def fault(self) -> str:
        """Why nothing can be encrypted to it; empty when it can."""
        main = self.main
        if main.validity == "r":
            return "is revoked"
        if main.validity == "e":
            return f"expired on {main.expires:%Y-%m-%d}"
        if not main.is_good:
            return "is not valid"
        if "D" in main.capabilities:
            return "is disabled in the keyring"
        if "E" in main.capabilities:
            return ""
        if any(part.encrypts for part in self.subkeys):
            return "has no encryption subkey that is still good: all are expired or revoked"
        return "can only sign: it has no encryption subkey"

    @property
    def expires(self) -> datetime | None:
        """When nothing can be encrypted to it any more; None: never."""
        able = [part.expires for part in (self.main, *self.subkeys) if part.encrypts and part.is_good]
        last = None if None in able else max(filter(None, able), default=None)
        return min(filter(None, (self.main.expires, last)), default=None)

    def warning(self, now: datetime) -> str:
        """What the operator should know; empty: nothing."""
        if self.expires is None or self.expires - now > SOON:
            return ""
        return (
            f"The key {self} in encryption_key expires on {self.expires:%Y-%m-%d}, and backups will fail from then on: "
            "extend it (gpg --quick-set-expire), or put a new one in its place."
        )


def import_recipients(gpg: Gpg, key: PublicKeys | Fingerprints) -> tuple[Recipient, ...]:
    """Import the public keys *key* means into the home of *gpg*.

    :raises EncryptionError: one cannot be had, or nothing can be encrypted to it.
    """
    blocks = (
        [block.encode() for block in key.blocks] if isinstance(key, PublicKeys) else map(_exported, key.fingerprints)
    )
    for number, block in enumerate(blocks, 1):
        _import(gpg, block, number)
    found = tuple(_listed(gpg.ask("--with-colons", "--list-keys").lines))
    _require_usable(found)
    return found


def _exported(fingerprint: str) -> bytes:
    """The key *fingerprint* out of the user's keyring.

    :raises EncryptionError: it is not there, or disabled there.
    """
    home = user_home()
    keyring = Gpg()
    listed = keyring.ask("--with-colons", "--list-keys", fingerprint) if home.is_dir() else None
    if listed is None or not listed.succeeded:
        raise EncryptionError(
            f"encryption_key names the key {fingerprint}, which is not in the keyring of this user ({home}). "
            f"Import it there (gpg --import), or put the public key itself into encryption_key. {_NO_HARM}"
        )
    _require_usable(_listed(listed.lines))
    exported = keyring.ask("--armor", "--export", fingerprint)
    return "\n".join(exported.lines).encode()


def _import(gpg: Gpg, block: bytes, number: int) -> None:
    answer = gpg.ask("--import", given=block)
    counts = [int(count) for count in " ".join(answer.arguments_of("IMPORT_RES")).split()]
    read, unnamed, imported, _, unchanged = counts[:5] or [0] * 5
    if not answer.succeeded or read == 0 or imported + unchanged != read:
        reason = "a key in it has no user id, as some key servers strip them" if unnamed else answer.last_words
        raise EncryptionError(
            f"gpg cannot import public key {number} of encryption_key ({reason or 'it holds no key'}): "
            f"export it again (gpg --armor --export). {_NO_HARM}"
        )


def _require_usable(recipients: Iterable[Recipient]) -> None:
    for recipient in recipients:
        if recipient.fault:
            raise EncryptionError(
                f"The key {recipient} in encryption_key {recipient.fault}, so nothing can be encrypted to it: "
                f"renew it, or put another key into encryption_key. {_NO_HARM}"
            )


def _listed(lines: Iterable[str]) -> Iterator[Recipient]:
    """The keys of a listing ``--with-colons``, as GnuPG's doc/DETAILS describes it."""
    records = [line.split(":") for line in lines]
    starts = [number for number, record in enumerate(records) if record[0] == "pub"]
    for start, end in zip(starts, [*starts[1:], len(records)], strict=True):
        own = records[start:end]
        yield Recipient(
            fingerprint=next(record[9] for record in own if record[0] == "fpr"),
            name=next((record[9] for record in own if record[0] == "uid"), ""),
            main=_part(own[0]),
            subkeys=tuple(_part(record) for record in own if record[0] == "sub"),
        )


def _part(record: list[str]) -> _Part:
    expires = datetime.fromtimestamp(int(record[6]), UTC) if record[6] else None
    return _Part(record[1], expires, record[11])
