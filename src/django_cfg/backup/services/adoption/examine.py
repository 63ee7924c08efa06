"""What an archive is, by its bytes and not by its name: encrypted, compressed, and of which program."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

from django_cfg.backup.config.backup import Compression
from django_cfg.backup.engines.base import Engine, ForeignDump
from django_cfg.backup.errors import RestoreRefused, VerificationFailed
from django_cfg.backup.manifest import Encryption
from django_cfg.backup.pipeline.compression import decompress, require_library
from django_cfg.backup.pipeline.encryption.decrypt import decrypt
from django_cfg.backup.pipeline.encryption.keyring import DecryptionKeys
from django_cfg.backup.pipeline.encryption.message import HEAD, find_encryption
from django_cfg.backup.pipeline.stream import (
    CheckedReader,
    CheckpointReader,
    Checkpoints,
    Digest,
    HashingReader,
    OnProgress,
    PeekableReader,
    Readable,
    drain,
)
from django_cfg.backup.services.adoption.origin import FileOrigin, Origin

_MAGIC: dict[bytes, Compression] = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_SQLITE_SQL = re.compile(rb'\s*(?:PRAGMA foreign_keys|BEGIN TRANSACTION;|CREATE TABLE (?:IF NOT EXISTS )?["\[])')
_BEGINNING = 4096  # bytes in which the kind of a dump shows
_TAR_MARK = slice(257, 262)


class Kind(Enum):
    """Kinds of dumps that are recognised, in words."""

    PGDUMP = "a dump in pg_dump's custom format"
    PG_TAR = "a dump in pg_dump's tar format"
    PG_SQL = "a PostgreSQL dump in plain SQL"
    MYSQL = "a dump of mysqldump or mariadb-dump"
    SQLITE = "a SQLite database"
    SQLITE_SQL = "a dump of SQLite in SQL"
    UNKNOWN = "of no kind that is known here"


_RESTORED = {"pgdump": Kind.PGDUMP, "sql": Kind.MYSQL, "sqlite3": Kind.SQLITE}  # by the format of an engine
_ADVICE = {
    Kind.PG_TAR: "A restore of this package needs the custom format (pg_dump --format=custom). Restore it with "
    "pg_restore into a database of its own, name that one in DATABASES, and back it up with backup_create.",
    Kind.PG_SQL: "A restore of this package needs the custom format (pg_dump --format=custom). Load it with `psql -X "
    "--set ON_ERROR_STOP=on --single-transaction` into a database of its own, name that one in DATABASES, and back it "
    "up with backup_create.",
    Kind.SQLITE_SQL: "A restore of this package needs the database file. Make it with `sqlite3 -bail "
    "restored.sqlite3`, fed with the dump between BEGIN; and COMMIT;, and adopt that file, with --taken-at.",
    Kind.UNKNOWN: "Adopted are: pg_dump's custom format, the SQL of mysqldump and mariadb-dump, and SQLite's files; "
    "each may be compressed with gzip, bzip2, xz or zstd, and encrypted with OpenPGP.",
}


@dataclass(frozen=True)
class Form:
    """How a dump is wrapped."""

    encryption: Encryption
    compression: Compression


@dataclass(frozen=True)
class Examined:
    """What is known of an archive after it was read to its end."""

    form: Form
    stored: Digest  # of its bytes as they were found
    raw: Digest  # decrypted and decompressed
    checkpoints: Checkpoints  # with which a second reading is compared, piece by piece
    dump: ForeignDump


class Unwrapped:
    """The plain bytes of an archive, hashed while they are read, as those are in which they were found."""

    def __init__(self, stored: HashingReader, packed: Readable, plain: Readable, form: Form) -> None:
        self.form = form
        self._stored, self._packed = stored, packed
        self._raw = HashingReader(plain)
        self.plain = CheckedReader(self._raw, self._read_rest)

    @property
    def checkpoints(self) -> Checkpoints:
        return self._stored.checkpoints

    @property
    def digests(self) -> tuple[Digest, Digest]:
        """Of the bytes as they were found, and of the plain ones; after the end of ``plain``."""
        return self._stored.digest, self._raw.digest

    def _read_rest(self) -> None:
        drain(self._packed)  # gpg has the last word on what follows the end mark of a compression
        drain(self._stored)


@contextmanager
def unwrap(
    origin: Origin, keys: DecryptionKeys, advance: OnProgress, checkpoints: Checkpoints | None = None
) -> Iterator[Unwrapped]:
    """Read *origin* decrypted and decompressed, whatever its name says of that.

    :param checkpoints: of an earlier reading: not a byte is handed out that was not read then.
    :raises VerificationFailed: from ``read``: it has changed since.
    :raises KeyMissing: it is encrypted, and *keys* do not open it.
    :raises ConfigurationError: what decompresses it is not installed.
    """
    with origin.open() as found:
        hashed = CheckpointReader(found, checkpoints, advance) if checkpoints else HashingReader(found, advance)
        stored = PeekableReader(hashed)
        encryption = find_encryption(stored.peek(HEAD))
        with decrypt(stored, encryption, keys) as decrypted:
            packed = PeekableReader(decrypted)
            compression = _find_compression(packed.peek(_BEGINNING))
            require_library(compression)
            with decompress(packed, compression) as plain:
                yield Unwrapped(hashed, packed, plain, Form(encryption, compression))


def examine(
    origin: Origin, engine: Engine, alias: str, tools_dir: str | None, keys: DecryptionKeys, advance: OnProgress
) -> Examined:
    """Read *origin* to its end, and check it by the rules of its format; nothing of it is run.

    :raises RestoreRefused: a restore of *engine* cannot load it.
    :raises VerificationFailed: it is incomplete or damaged.
    """
    with unwrap(origin, keys, advance) as unwrapped:
        plain = PeekableReader(unwrapped.plain)
        _require_kind(recognize(plain.peek(_BEGINNING)), origin.name, engine, alias)
        if isinstance(origin, FileOrigin) and engine.format == "sqlite3":
            _refuse_companions(origin)
        dump = engine.examine_foreign(plain, origin.name, tools_dir)
        drain(plain)
        stored, raw = unwrapped.digests
        return Examined(unwrapped.form, stored, raw, unwrapped.checkpoints, dump)


def recognize(head: bytes) -> Kind:
    """Return the kind of the dump that begins with *head*."""
    if head.startswith(b"PGDMP"):
        return Kind.PGDUMP
    if head.startswith(b"SQLite format 3\0"):
        return Kind.SQLITE
    if head[_TAR_MARK] == b"ustar" and head.startswith(b"toc.dat\0"):
        return Kind.PG_TAR
    if b"-- PostgreSQL database dump" in head or b"-- PostgreSQL database cluster dump" in head:
        return Kind.PG_SQL
    if b"-- MySQL dump " in head or b"-- MariaDB dump " in head:
        return Kind.MYSQL
    if _SQLITE_SQL.match(head):
        return Kind.SQLITE_SQL
    return Kind.UNKNOWN


def _find_compression(head: bytes) -> Compression:
    return next((method for magic, method in _MAGIC.items() if head.startswith(magic)), "none")


def _require_kind(kind: Kind, name: str, engine: Engine, alias: str) -> None:
    if kind is _RESTORED[engine.format]:
        return
    if advice := _ADVICE.get(kind):
        raise RestoreRefused(f"{name} is {kind.value}. {advice}")
    raise RestoreRefused(
        f"{name} is {kind.value}, and {alias!r} is a {engine.name} database: name a database of its kind with "
        "--database."
    )


def _refuse_companions(origin: FileOrigin) -> None:
    if companions := origin.list_companions():
        names = " and ".join(path.name for path in companions)
        raise VerificationFailed(
            f"{origin.name} is not complete without {names} next to it: the newest data is in there, or what undoes a "
            f"change that was interrupted. Make one file of them with `sqlite3 {origin.name} '.backup copy.sqlite3'`, "
            "and adopt copy.sqlite3, with --taken-at."
        )
