"""The manifest: the JSON file next to an archive that says what the archive is. No manifest: no backup.

Schema 1. Times are UTC, ISO 8601; sizes are bytes; ``raw`` is what the dump tool wrote, before
compression. A manifest is written last, deleted first and never changed. It holds no secret.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from django_cfg.backup.config.backup import MAIN_PLACE, Compression
from django_cfg.backup.errors import ManifestError
from django_cfg.backup.formatting import megabytes, seconds_taken
from django_cfg.backup.records import LineOfText, Moment, Record, Size

SCHEMA = 1
SUFFIX = ".json"
PIN_SUFFIX = ".pin.json"
PROOF_SUFFIX = ".proof.json"
_PROOF_TIME = "%Y%m%dT%H%M%SZ"
_PROOF_KEY = re.compile(rf"(?P<name>.+)\.(?P<time>\d{{8}}T\d{{6}}Z){re.escape(PROOF_SUFFIX)}", re.DOTALL)
_SIGNATURE = "signature"
MAX_STORED = 32 << 20  # bytes of a manifest or a proof: some 300,000 tables
MAX_NOTE = 10_000  # characters
_LONGEST = 10**9  # seconds
Trigger = Literal["manual", "scheduled", "before-restore", "before-migrate"]


def _plain_file_name(value: str) -> str:
    if "/" in value or "\\" in value or value.startswith(".") or not value.isprintable():
        raise ValueError("not a plain file name")
    return value


Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Source(Record):
    """What was backed up. Retention and status are per source."""

    project: LineOfText
    env: LineOfText
    database: LineOfText

    def __str__(self) -> str:
        return f"{self.project}/{self.env}/{self.database}"


class Archive(Record):
    """An object that holds the dump, or a part of it."""

    key: Annotated[str, AfterValidator(_plain_file_name)]  # next to the manifest
    size: Size  # bytes, as stored
    sha256: Digest
    raw_size: Size  # bytes, as the dump tool wrote it
    raw_sha256: Digest


class Encryption(Record):
    method: Literal["none", "passphrase", "public-key"] = "none"
    recipients: tuple[str, ...] = ()  # fingerprints


class Characters(Record):
    """How a PostgreSQL database encodes and orders text: what can only be chosen when it is made."""

    encoding: str  # UTF8, LATIN1, ...
    collate: str  # of libc, as ctype
    ctype: str
    provider: Literal["libc", "icu", "builtin"] = "libc"
    locale: str = ""  # of another provider than libc
    rules: str = ""  # of ICU


class DatabaseGrant(Record):
    """Privileges on a PostgreSQL database."""

    role: str = ""  # empty: PUBLIC
    privileges: tuple[str, ...]
    with_grant_option: bool = False


class DatabaseSetting(Record):
    """A setting that a PostgreSQL database gives its sessions: ``ALTER DATABASE ... SET``."""

    role: str = ""  # of the sessions of one role: ALTER ROLE ... IN DATABASE ... SET
    name: str
    value: str | None  # None: a setting of the project's own may be a secret, so it is in the archive alone


class DatabaseProperties(Record):
    """What belongs to a PostgreSQL database and not to its contents."""

    owner: str
    grants: tuple[DatabaseGrant, ...] | None = None  # None: the server's default
    settings: tuple[DatabaseSetting, ...] = ()
    connection_limit: int = -1
    is_template: bool = False
    comment: str | None = None


class EngineFacts(Record):
    """What made the dump, and what can read it."""

    vendor: LineOfText  # sqlite, postgresql, mysql, mariadb
    server_version: LineOfText
    tool: LineOfText
    tool_version: LineOfText
    format: Literal["pgdump", "sql", "sqlite3"]
    roles: tuple[str, ...] = ()  # that own something in the dump or are granted something
    charset: str = ""  # of a MySQL or MariaDB database, for the day when it is lost
    collation: str = ""  # likewise
    largest_statement: int = 0  # bytes; a server takes it if its max_allowed_packet is larger (MySQL, MariaDB)
    tablespaces: tuple[str, ...] = ()  # that tables and indexes of a PostgreSQL database are in, but for the default
    access_methods: tuple[str, ...] = ()  # of its tables, but for PostgreSQL's own
    characters: Characters | None = None  # of a PostgreSQL database, for the day when it is lost
    properties: DatabaseProperties | None = None  # likewise


class Adoption(Record):
    """Where an archive came from that another program made."""

    name: LineOfText  # of the file or object
    size: Size  # of its bytes as they were found
    sha256: Digest
    at: Moment
    time_from: Literal["option", "name", "file"]  # what says when the archive was made: --taken-at, its name, its age


class Table(Record):
    name: str
    rows: Size
    exact: bool  # an inexact count is never compared


class Pin(Record):
    """Marks a backup that is never deleted: by whom, when, why."""

    by: str
    at: Moment
    why: str = ""

    def to_json(self) -> bytes:
        return self.model_dump_json(indent=2).encode() + b"\n"


def proof_key(name: str, at: datetime) -> str:
    """Return the key of a proof of the backup *name*, written at *at*; the last one by time counts."""
    return f"{name}.{at.astimezone(UTC).strftime(_PROOF_TIME)}{PROOF_SUFFIX}"


def proved_name(key: str) -> str:
    """Return the name of the backup that the proof under *key* is of; empty if *key* is not the key of a proof."""
    found = _PROOF_KEY.fullmatch(key)
    return found["name"] if found else ""


def proof_time(key: str) -> datetime | None:
    """Return when the proof under *key* was written; None if its name does not say."""
    found = _PROOF_KEY.fullmatch(key)
    try:
        return datetime.strptime(found["time"], _PROOF_TIME).replace(tzinfo=UTC) if found else None
    except ValueError:
        return None


class TableEvidence(Record):
    """What a drill found in one table. None: the table is not there."""

    name: str
    expected: Size | None  # rows, by the manifest
    found: Size | None  # rows, after the restore
    exact: bool = True  # an inexact count is not compared


class Proof(Record):
    """A drill of a backup: it was restored into a scratch database, compared, and thrown away."""

    schema_: Literal[1] = Field(1, alias="schema")
    name: LineOfText  # of the backup
    archive_sha256: Digest  # of the archive that was restored, as stored; of several: ``Manifest.digest``
    place: LineOfText = MAIN_PLACE  # that it was restored from
    at: Moment  # when the drill began
    duration: float = Field(ge=0, le=_LONGEST, allow_inf_nan=False)  # seconds
    succeeded: bool
    differences: tuple[str, ...] = ()  # from the manifest; empty when it succeeded
    tables: Size = 0  # compared
    rows: Size = 0  # compared
    evidence: tuple[TableEvidence, ...] = ()  # by table; empty when nothing could be loaded
    queries: Size = 0  # verification_queries that gave a truthy value
    skipped: tuple[str, ...] = ()  # objects that were left out, as asked for, and why where that is known
    server_version: LineOfText = ""
    tool: LineOfText = ""
    tool_version: LineOfText = ""
    host: LineOfText = ""  # where it was restored
    migrations: str = ""  # how the backup compares with the code, in words; empty when it matches

    def proves(self, manifest: Manifest) -> bool:
        """The drill succeeded, and what it restored is this very archive."""
        return self.succeeded and (self.name, self.archive_sha256) == (manifest.name, manifest.digest)

    def to_json(self) -> bytes:
        return self.model_dump_json(by_alias=True, indent=2).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes, key: str) -> Proof:
        """Read the proof stored under *key*.

        :raises ManifestError: it cannot be read, or belongs to another backup.
        """
        try:
            proof = cls.model_validate_json(data)
        except ValidationError as error:
            raise ManifestError(f"The proof {key} cannot be read: {error.errors()[0]['msg']}. Drill again.") from None
        if proof.name != proved_name(key):
            raise ManifestError(f"The proof {key} is of {proof.name}: it was renamed or moved. Drill again.")
        return proof


class Signature(StrEnum):
    """What the signature of a stored manifest says, as far as the known keys tell."""

    GOOD = "good"
    NONE = "none"
    BAD = "bad"


def check_signature(data: bytes, keys: Sequence[str]) -> Signature:
    """Compare the signature in the stored manifest *data* with *keys*: one of them has to have made it."""
    document = json.loads(data)
    found = document.get(_SIGNATURE)
    if found is None:
        return Signature.NONE
    expected = [_sign(document, key) for key in keys]
    fits = [hmac.compare_digest(signature.encode(), str(found).encode(errors="replace")) for signature in expected]
    return Signature.GOOD if any(fits) else Signature.BAD


def _sign(document: Mapping[str, Any], key: str) -> str:
    """HMAC-SHA256 (RFC 2104), in hexadecimal, over *document* without its signature.

    The message is ``django-cfg-backup manifest`` and a zero byte, then the JSON with its keys sorted, without spaces,
    and with all but ASCII escaped: what an editor or another JSON library changes in the layout does not matter.
    """
    content = {name: value for name, value in document.items() if name != _SIGNATURE}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hmac.new(key.encode(), b"django-cfg-backup manifest\0" + text.encode(), hashlib.sha256).hexdigest()


class Manifest(Record):
    """The record of a backup."""

    schema_: Literal[1] = Field(1, alias="schema")
    name: LineOfText
    source: Source
    host: LineOfText  # empty: not known
    trigger: Trigger
    slot: Moment | None = None  # the due time that it was made for; None: by hand
    partial: bool = False  # include_tables was given
    started_at: Moment  # the data is that of this moment, or of a little later
    finished_at: Moment
    archive: Archive
    row_archives: tuple[Archive, ...] = ()  # of a dump by several workers: each holds the rows of some tables
    compression: Compression
    encryption: Encryption = Encryption()
    engine: EngineFacts
    tables: tuple[Table, ...]
    excluded: tuple[str, ...] = ()  # tables whose rows were left out
    migrations: dict[str, tuple[str, ...]] = Field(default_factory=dict)  # app: all that are applied, in their order
    packages: dict[str, str] = Field(default_factory=dict)  # package: version
    note: str = Field("", max_length=MAX_NOTE)
    restore_hint: str  # a shell command that needs no part of this package
    adopted: Adoption | None = None  # None: this package made the archive

    @model_validator(mode="after")
    def _archives_bear_the_name(self) -> Self:
        for archive in self.archives:
            if not archive.key.startswith(f"{self.name.rpartition('/')[2]}."):
                raise ValueError(f"the archive {archive.key} does not bear the name {self.name}")
        if len({archive.key for archive in self.archives}) < len(self.archives):
            raise ValueError("two archives have the same name")
        return self

    @property
    def key(self) -> str:
        return f"{self.name}{SUFFIX}"

    @property
    def archives(self) -> tuple[Archive, ...]:
        """All archives, in the order in which they are loaded."""
        return (self.archive, *self.row_archives)

    @property
    def parts(self) -> tuple[Manifest, ...]:
        """For each archive this manifest as if it were the only one; it is no manifest to store."""
        if not self.row_archives:
            return (self,)
        return tuple(self.model_copy(update={"archive": archive, "row_archives": ()}) for archive in self.archives)

    @property
    def archive_key(self) -> str:
        """The archive's key in the storage: next to the manifest."""
        folder, slash, _ = self.name.rpartition("/")
        return f"{folder}{slash}{self.archive.key}"

    @property
    def archive_keys(self) -> tuple[str, ...]:
        return tuple(part.archive_key for part in self.parts)

    @property
    def size(self) -> int:
        """Bytes of all archives, as stored."""
        return sum(archive.size for archive in self.archives)

    @property
    def raw_size(self) -> int:
        """Bytes of all archives, as the dump tool wrote them."""
        return sum(archive.raw_size for archive in self.archives)

    @property
    def digest(self) -> str:
        """SHA-256 of the archive; of several, that of their digests one after the other."""
        digests = [archive.sha256 for archive in self.archives]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)

    @property
    def took(self) -> timedelta:
        """How long the backup took."""
        return self.finished_at - self.started_at

    def to_json(self, signing_key: str | None = None) -> bytes:
        """The manifest as it is stored, signed if there is a *signing_key*."""
        document = self.document
        if signing_key:
            document[_SIGNATURE] = _sign(document, signing_key)
        return json.dumps(document, indent=2).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes, key: str) -> Manifest:
        """Read the manifest stored under *key*.

        :raises ManifestError: cut short, of a newer schema, or not the manifest of this name.
        """
        manifest = cls._parse(data, key)
        if manifest.key != key:
            raise ManifestError(
                f"The manifest {key} says it is {manifest.key}: it was renamed or moved. Give it its name back."
            )
        return manifest

    @classmethod
    def _parse(cls, data: bytes, key: str) -> Manifest:
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ManifestError(
                f"The manifest {key} is not complete JSON ({_describe(error)}): it was cut short or damaged. Its "
                "archive may still be good: docs/restore-by-hand.md says how to open it without a manifest."
            ) from None
        schema = document.setdefault("schema", 0) if isinstance(document, dict) else None
        if isinstance(schema, int) and schema > SCHEMA:
            raise ManifestError(
                f"The manifest {key} has schema {schema}, and this version reads up to {SCHEMA}: "
                "upgrade django-cfg-backup."
            )
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "it"
            raise ManifestError(f"The manifest {key} is not one of ours: {where}: {first['msg']}.") from None


def describe_stored(manifest: Manifest) -> str:
    """Return what was stored, in one line for a person."""
    size, took = megabytes(manifest.size), seconds_taken(manifest.took.total_seconds())
    return f"{manifest.name}: {len(manifest.tables)} tables, {manifest.rows:,} rows, {size} stored in {took}"


def _describe(error: Exception) -> str:
    """Say why without quoting what was stored."""
    return error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
