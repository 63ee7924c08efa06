"""The contract of an engine. One test suite runs against every engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from django_cfg.backup.errors import UsageError, VerificationFailed
from django_cfg.backup.manifest import EngineFacts, Manifest, Table
from django_cfg.backup.pipeline.stream import Readable

if TYPE_CHECKING:
    from django_cfg.backup.pipeline.archive import PlainReader


@dataclass(frozen=True)
class Database:
    """One entry of settings.DATABASES."""

    alias: str
    settings: Mapping[str, Any] = field(repr=False)  # holds the password
    connection: Mapping[str, Any] = field(default_factory=dict, repr=False)  # overrides settings for dump and restore
    tools_dir: str | None = None  # folder of the vendor's programs; None: the usual places
    lock_timeout: int = 60  # seconds
    dump_timeout: int | None = None  # seconds; None: a dump takes as long as it takes
    dump_jobs: int = 1  # programs that dump at the same time, where the engine can
    restore_jobs: int | None = None  # sessions of a restore at the same time; None: as many as this machine has cores


@dataclass(frozen=True)
class Selection:
    """The tables of a dump, as shell patterns, and additional options of the dump tool."""

    include: tuple[str, ...] = ()  # empty: all
    exclude: tuple[str, ...] = ()  # without their rows; the definitions stay
    extra_options: tuple[str, ...] = ()

    @property
    def partial(self) -> bool:
        return bool(self.include)


@dataclass(frozen=True)
class DumpReport:
    """What the manifest records of a finished dump."""

    engine: EngineFacts
    tables: tuple[Table, ...]
    excluded: tuple[str, ...]
    migrations: Mapping[str, tuple[str, ...]]  # app: all that are applied, in their order
    warnings: tuple[str, ...] = ()  # about a dump that is complete


def group_migrations(rows: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Group the *rows* of Django's record, app and name in the order of application, by app."""
    found: dict[str, list[str]] = {}
    for app, name in rows:
        found.setdefault(app, []).append(name)
    return {app: tuple(names) for app, names in found.items()}


@dataclass(frozen=True)
class ForeignDump:
    """What is known of a dump that another program made, before it is loaded."""

    engine: EngineFacts
    filled: frozenset[str] | None = None  # the tables whose rows it holds; None: it does not say


@dataclass(frozen=True)
class Survey:
    """What a staging database holds after it was loaded."""

    rows: Mapping[str, int]  # by table
    migrations: Mapping[str, tuple[str, ...]]  # app: all that are applied, in their order


class Dump(ABC):
    """A running dump: read ``stream`` to its end, and all ``row_streams`` at the same time; then call ``report``."""

    stream: Readable
    row_streams: Sequence[Readable] = ()  # of a dump by several workers: the rows of some tables each
    expected_size: int  # bytes of all streams; an upper estimate

    def kill(self) -> None:  # noqa: B027  where there is one stream, leaving the dump is enough
        """End the programs of ``row_streams`` and ``stream``: reading them fails."""

    @abstractmethod
    def report(self) -> DumpReport:
        """Wait for everything that runs in parallel with the stream, and check that the dump is complete.

        :raises DumpFailed: the dump is incomplete.
        """


@dataclass(frozen=True)
class RestoreOptions:
    """An operator's choices for a restore. An engine refuses an option that it does not support."""

    tables: tuple[str, ...] = ()  # patterns: restore only these tables, into the existing database; empty: all
    in_place: bool = False  # without a staging database, if the engine supports that
    disconnect: bool = False  # end the connections that block the switch
    discard_old: bool = False  # do not keep the old data
    skip: tuple[str, ...] = ()  # names or shell patterns of objects without rows: leave them out
    skip_failing: bool = False  # leave out policies, triggers, refreshes, grants and comments that the server refuses
    backup_settings: bool = False  # for a drill: with the settings of the database that was backed up, where known
    jobs: int | None = None  # sessions at the same time, where the engine uses several; None: as configured


DEFAULT_OPTIONS = RestoreOptions()


@dataclass(frozen=True)
class SwitchResult:
    """The result of a restore."""

    old_data: str | None  # where it is kept; None: the target was empty, or the old data was discarded
    advice: str = ""  # what the operator has to do next
    skipped: tuple[str, ...] = ()  # objects that the operator has left out, and why where that is known


@dataclass(frozen=True)
class KeptObject:
    """Old data that a restore has kept; only the operator removes it."""

    name: str  # of a file, a database or a schema
    size: int  # bytes
    made_at: datetime  # aware
    is_unfinished: bool = False  # the restore was interrupted at its switch: ``Engine.resume`` finishes it


class Level(StrEnum):
    OK = "OK"
    WARNING = "WARNING"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Finding:
    """One line of a check: its subject and its result."""

    level: Level
    subject: str
    text: str


@dataclass(frozen=True)
class Preflight:
    """What can be checked before a restore begins."""

    findings: tuple[Finding, ...]  # versions, tools, permissions, space, blocking connections, the form and its reason
    uses_staging: bool  # load and check next to the target; otherwise read the archive completely first
    keeps_old_data: bool  # at the switch; otherwise a backup is made before the restore
    target_exists: bool = True  # otherwise there is no old data, and the restore creates the database


class Restoration(ABC):
    """A running restore. Until ``switch`` the target is unchanged; leaving the block discards an unfinished restore."""

    has_changed_target = False  # True: a failure from now on leaves the target neither old nor new
    skipped: tuple[str, ...] = ()  # objects that were left out of what is loaded, as the operator has chosen
    # Opens what ``load`` gets once more, to be read at the same time; None: that would cost too much.
    open_again: Callable[[], AbstractContextManager[PlainReader]] | None = None

    @property
    def staging_settings(self) -> Mapping[str, Any] | None:
        """The loaded staging database as an entry of settings.DATABASES; None if no other connection can read it."""
        return None

    @property
    def sanitizer_settings(self) -> Mapping[str, Any] | None:
        """Likewise, of a connection that may change the staging database."""
        return self.staging_settings

    def describe_sanitizer_error(self, error: Exception) -> str:
        """Return what *error* of the database says, without anything of a row; empty if that cannot be known."""
        return ""

    def finish_sanitizing(self) -> None:  # noqa: B027  most databases show changed rows to no one
        """Remove from the staging database what changed rows have left in it, where others could read that.

        :raises RestoreFailed: it could not be removed; the target is unchanged.
        """

    @property
    def tool(self) -> tuple[str, str]:
        """Name and version of the program that loads, for a proof; empty if not recorded."""
        return "", ""

    @abstractmethod
    def load(self, plain: Readable) -> None:
        """Load *plain*, up to its end, into the staging database."""

    def load_rows(self, archives: Iterable[AbstractContextManager[Readable]]) -> None:
        """Load the ``row_archives`` of the manifest, after its archive; each is opened when it is its turn.

        They may be read in several threads.
        """
        raise VerificationFailed("The manifest names several archives, and this engine writes one: it was changed.")

    def survey(self) -> Survey:
        """Return what the staging database holds, whatever a manifest says of it.

        :raises VerificationFailed: its structure is invalid.
        """
        raise UsageError(f"{type(self).__name__} has no staging database that could be surveyed.")

    @abstractmethod
    def check(self, manifest: Manifest) -> Mapping[str, int]:
        """Check the structure of the staging database, and its row counts against the manifest.

        :returns: the rows by table, as found; empty if the restoration itself compares them on the server.
        :raises VerificationFailed: the structure is invalid or a count differs.
        """

    def fetch_value(self, query: str) -> object:
        """Return the first value of *query* on the staging database, None for no row. The query cannot write.

        :raises VerificationFailed: the query fails.
        """
        raise UsageError(f"{type(self).__name__} cannot run the verification query {query!r}.")

    @abstractmethod
    def switch(self) -> SwitchResult:
        """Make the staging database the target, completely or not at all, and keep the old data.

        :raises RestoreFailed: the message describes the state of the target.
        """


class Engine(ABC):
    """Backs up and restores one database of one vendor. Creating an engine opens no connection."""

    format: ClassVar[Literal["pgdump", "sql", "sqlite3"]]
    name: ClassVar[str]  # for messages
    can_undo: ClassVar[bool] = False  # ``undo`` switches back to kept data
    can_skip: ClassVar[bool] = False  # single objects can be left out of a restore
    can_drill_partial: ClassVar[bool] = True  # False: partial backups restore only into an existing database
    runs_archives: ClassVar[bool] = True  # loading runs the SQL of an archive while it arrives
    version_query: ClassVar[str] = "SELECT version()"  # returns the version of the server

    def __init__(self, database: Database) -> None:
        self.database = database

    @property
    @abstractmethod
    def identity(self) -> str:
        """A string that is equal for two aliases if and only if they name the same database."""

    @property
    @abstractmethod
    def location(self) -> str:
        """Where the database is, for messages; contains no secret."""

    def exists(self) -> bool:
        """Return False if the database is missing and connecting would create it."""
        return True

    @abstractmethod
    def dump(self, selection: Selection) -> AbstractContextManager[Dump]:
        """Take a consistent dump while other connections write.

        :raises DatabaseUnavailable: the database is missing, is empty, or does not answer.
        :raises UsageError: the selection is not possible.
        """

    def preflight(self, manifest: Manifest, options: RestoreOptions = DEFAULT_OPTIONS) -> Preflight:
        """Check everything that can be checked before a restore, without any change and without reading the archive.

        :raises BackupError: the restore would fail, or *options* cannot be met.
        """
        return Preflight((), uses_staging=False, keeps_old_data=False)

    def refuse_skip(self, options: RestoreOptions) -> None:
        """
        :raises UsageError: *options* leave out objects, which this engine, or a restore of some tables, cannot do.
        """
        if not (options.skip or options.skip_failing):
            return
        if not self.can_skip:
            raise UsageError(
                f"Leaving out objects (--skip, --skip-failing) is not possible on {self.name}. Nothing was touched."
            )
        if options.tables:
            raise UsageError(
                "Leaving out objects (--skip, --skip-failing) is for the restore of a complete backup. With --tables "
                "only rows are restored: the policies, triggers, grants and comments of these tables stay as they are "
                "in the database, so there is nothing to leave out. Nothing was touched."
            )

    @abstractmethod
    def restoration(
        self, manifest: Manifest, options: RestoreOptions = DEFAULT_OPTIONS
    ) -> AbstractContextManager[Restoration]:
        """Prepare to restore the backup of *manifest* into the database; the target stays unchanged.

        Staging databases of restores that died are removed first.

        :raises RestoreRefused: a check made beforehand rules the restore out.
        """

    def resume(self) -> SwitchResult | None:
        """Finish the switch that a dead restore has begun; None if there is none (a switch may be atomic).

        :raises RestoreFailed: the switch is still unfinished; call this again.
        """
        return None

    def undo(self, kept: str, *, disconnect: bool = False) -> SwitchResult:
        """Switch back to the old data *kept*, one of :meth:`list_kept_data`; the present data is kept instead.

        :raises UsageError: this engine cannot.
        :raises RestoreFailed: nothing has changed.
        """
        raise UsageError(f"{self.name} cannot switch back to {kept}; docs/restore.md says how to use it by hand.")

    def list_kept_data(self) -> list[KeptObject]:
        """Return the old data that restores of this database have kept, newest first."""
        return []

    def sweep_staging(self, *, dry_run: bool = False) -> list[str]:
        """Remove only the staging databases of restores of this database that died; return their names.

        :param dry_run: return the names and remove nothing.
        """
        return []

    @abstractmethod
    def check_health(self, selection: Selection) -> Iterator[Finding]:
        """Check, without dumping, that a dump would succeed: server, tools, permissions, selection.

        :raises BackupError: a dump would fail.
        """

    def check_restorable(self, manifest: Manifest) -> Iterator[Finding]:
        """Warn, by the manifest alone, of what keeps the server from taking back the newest backup.

        :raises BackupError: the server does not answer.
        """
        return iter(())

    @abstractmethod
    def is_empty(self) -> bool:
        """Return True if the database is missing or has no table."""

    @classmethod
    @abstractmethod
    def check_archive(cls, plain: Readable, manifest: Manifest, tools_dir: str | None = None) -> None:
        """Check the plain bytes of an archive by the rules of its format, without a server.

        :param tools_dir: folder of the vendor's programs; None: the usual places.
        :raises VerificationFailed: the dump is incomplete or damaged.
        """

    @classmethod
    @abstractmethod
    def examine_foreign(cls, plain: Readable, name: str, tools_dir: str | None = None) -> ForeignDump:
        """Check the dump *name* of another program to its end, by the rules of its format, without a server.

        :raises VerificationFailed: it is incomplete or damaged.
        :raises RestoreRefused: it is complete, and of a form that this engine does not restore.
        """

    def check_loadable(self, plain: Readable, manifest: Manifest) -> None:
        """Do what ``check_archive`` does, before a restore that has no staging database.

        :raises RestoreRefused: this server cannot load the dump.
        """
        self.check_archive(plain, manifest, self.database.tools_dir)

    @classmethod
    @abstractmethod
    def restore_command(cls, plain: Sequence[str]) -> str:
        """Return the shell command that restores a backup without this package.

        :param plain: for each archive the command that prints its plain bytes, such as ``gzip -dc NAME``.
        """
