"""The contract of an engine. The same test suite runs over all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Literal

from django_cfg.backup.errors import UsageError
from django_cfg.backup.manifest import EngineFacts, Manifest, Table
from django_cfg.backup.pipeline.stream import Readable


@dataclass(frozen=True)
class Database:
    """One entry of settings.DATABASES."""

    alias: str
    settings: Mapping[str, Any] = field(repr=False)  # holds the password
    connection: Mapping[str, Any] = field(default_factory=dict, repr=False)  # laid over them for dump and restore
    tools_dir: str | None = None  # where the vendor's programs are; None: where they usually are
    lock_timeout: int = 60  # seconds


@dataclass(frozen=True)
class Selection:
    """Which tables a dump holds, in shell patterns, and further options of the dump tool."""

    include: tuple[str, ...] = ()  # empty: all
    exclude: tuple[str, ...] = ()  # rows left out, definition kept
    extra_options: tuple[str, ...] = ()

    @property
    def partial(self) -> bool:
        return bool(self.include)


@dataclass(frozen=True)
class DumpReport:
    """What a finished dump tells for the manifest."""

    engine: EngineFacts
    tables: tuple[Table, ...]
    excluded: tuple[str, ...]
    migrations: Mapping[str, str]  # app: last applied
    warnings: tuple[str, ...] = ()  # what the operator should know of a dump that is whole


class Dump(ABC):
    """A dump under way: read ``stream`` to its end, then ask for the report."""

    stream: Readable
    expected_size: int  # bytes of the stream, a guess from above

    @abstractmethod
    def report(self) -> DumpReport:
        """Wait for all that runs beside the stream and check that the dump is whole.

        :raises DumpFailed: it is not.
        """


@dataclass(frozen=True)
class RestoreOptions:
    """What an operator may choose about a restore. An engine refuses what it cannot honour."""

    tables: tuple[str, ...] = ()  # patterns: these tables alone, into the database as it is; empty: everything
    in_place: bool = False  # without a scratch, where the engine has such a form
    disconnect: bool = False  # end the connections that stand in the way of the switch
    discard_old: bool = False  # the old data is not kept


DEFAULT_OPTIONS = RestoreOptions()


@dataclass(frozen=True)
class SwitchResult:
    """What a restore leaves behind."""

    old_data: str | None  # where it was set aside; None: there was none, or it was not to be kept
    advice: str = ""  # what the operator has to do now


@dataclass(frozen=True)
class KeptObject:
    """Old data that a restore has kept, until somebody removes it."""

    name: str  # as the operator finds it: a file, a database, a schema
    size: int  # bytes
    made_at: datetime  # aware
    is_unfinished: bool = False  # the restore was interrupted at its switch: ``Engine.resume`` finishes it


class Level(StrEnum):
    OK = "OK"
    WARNING = "WARNING"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Finding:
    """One line of a check: what was looked at, and what was found."""

    level: Level
    subject: str
    text: str


@dataclass(frozen=True)
class Preflight:
    """What can be known of a restore before it begins."""

    findings: tuple[Finding, ...]  # versions, tools, permission, space, connections in the way, the form and why
    uses_staging: bool  # all is loaded and checked beside the target; else the archive is read through first
    keeps_old_data: bool  # the switch sets it aside; else a backup is made first


class Restoration(ABC):
    """A restore under way. Until ``switch`` the target is untouched; leaving the block discards the rest."""

    has_changed_target = False  # True once that is not so: what fails now leaves the target neither old nor new

    @property
    def staging_settings(self) -> Mapping[str, Any] | None:
        """The scratch as an entry of settings.DATABASES, once loaded; None where nobody else can look at it."""
        return None

    @property
    def tool(self) -> tuple[str, str]:
        """Name and version of the program that loads, for a proof; empty where it is not told."""
        return "", ""

    @abstractmethod
    def load(self, plain: Readable) -> None:
        """Read *plain* to its end into the scratch."""

    @abstractmethod
    def check(self, manifest: Manifest) -> None:
        """Check the scratch's structure, and its row counts against the manifest.

        :raises VerificationFailed: they differ.
        """

    def fetch_value(self, query: str) -> object:
        """The first value that *query* gives on the scratch, None for no row; it may change nothing.

        :raises VerificationFailed: the query fails.
        """
        raise UsageError(f"{type(self).__name__} cannot ask the verification query {query!r}.")

    @abstractmethod
    def switch(self) -> SwitchResult:
        """Make the scratch the target, wholly or not at all, with the old data set aside.

        :raises RestoreFailed: the message says how the target is.
        """


class Engine(ABC):
    """Knows one vendor. Made for one database; opens nothing before it is asked to."""

    format: ClassVar[Literal["pgdump", "sql", "sqlite3"]]
    name: ClassVar[str]  # for messages
    can_drill_partial: ClassVar[bool] = True  # False: backups of some tables go only into a database as it is
    version_query: ClassVar[str] = "SELECT version()"  # of the server

    def __init__(self, database: Database) -> None:
        self.database = database

    @property
    @abstractmethod
    def identity(self) -> str:
        """Equal for two aliases exactly when they name the same database."""

    @property
    @abstractmethod
    def location(self) -> str:
        """Where the database is, for messages; without any secret."""

    def exists(self) -> bool:
        """False when the database is known to be absent, where opening it would create it."""
        return True

    @abstractmethod
    def dump(self, selection: Selection) -> AbstractContextManager[Dump]:
        """A consistent dump, taken while others write.

        :raises DatabaseUnavailable: missing, empty, or it does not answer.
        :raises UsageError: the selection cannot be honoured.
        """

    def preflight(self, manifest: Manifest, options: RestoreOptions = DEFAULT_OPTIONS) -> Preflight:
        """Look at all that can be known before a restore; touch nothing, and read nothing of the archive.

        :raises BackupError: the restore would fail, or cannot be done as *options* say.
        """
        return Preflight((), uses_staging=False, keeps_old_data=False)

    @abstractmethod
    def restoration(
        self, manifest: Manifest, options: RestoreOptions = DEFAULT_OPTIONS
    ) -> AbstractContextManager[Restoration]:
        """Prepare to restore the backup of *manifest* into the database, touching nothing.

        The scratches of restores that died are removed first.

        :raises RestoreRefused: what can be known beforehand stands in the way.
        """

    def resume(self) -> SwitchResult | None:
        """Finish the switch that a dead restore has begun; None: there is none, as where switching is atomic.

        :raises RestoreFailed: it can be tried again.
        """
        return None

    def list_kept_data(self) -> list[KeptObject]:
        """The old data that restores of this database have kept, newest first."""
        return []

    def sweep_staging(self, *, dry_run: bool = False) -> list[str]:
        """Remove the scratches of restores of this database that died, and nothing else; the names of those.

        :param dry_run: tell of them, and let them be.
        """
        return []

    @abstractmethod
    def check_health(self, selection: Selection) -> Iterator[Finding]:
        """Look, without dumping, whether a dump would succeed: server, tools, permissions, selection.

        :raises BackupError: it would not.
        """

    @abstractmethod
    def is_empty(self) -> bool:
        """True when the database is absent or holds no table."""

    @classmethod
    @abstractmethod
    def check_archive(cls, plain: Readable, manifest: Manifest, tools_dir: str | None = None) -> None:
        """Check the plain bytes of an archive by the format's own rules, without any server.

        :param tools_dir: where the vendor's programs are; None: where they usually are.
        :raises VerificationFailed: the dump is not whole.
        """

    def check_loadable(self, plain: Readable, manifest: Manifest) -> None:
        """Like ``check_archive``, before a restore that loads nothing beside the database.

        :raises RestoreRefused: this server cannot take what the dump holds.
        """
        self.check_archive(plain, manifest, self.database.tools_dir)

    @classmethod
    @abstractmethod
    def restore_command(cls, unpack: str, archive: str) -> str:
        """The shell command that restores *archive* without this package.

        :param unpack: the command that prints the plain bytes of the archive, as ``gzip -dc``.
        """
