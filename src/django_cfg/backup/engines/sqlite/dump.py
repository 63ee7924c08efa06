"""The dump: an online copy made by SQLite, streamed while a second connection checks it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from django_cfg.backup.engines.base import Database, Dump, DumpReport, Selection
from django_cfg.backup.engines.sqlite import schema
from django_cfg.backup.engines.sqlite.files import (
    LOCK_TIMEOUT,
    live,
    open_private,
    private_folder,
    require_temporary_space,
    unavailable,
)
from django_cfg.backup.errors import DatabaseUnavailable, DumpFailed, UsageError
from django_cfg.backup.manifest import EngineFacts, Table
from django_cfg.backup.pipeline.stream import Readable

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class Locked(sqlite3.OperationalError):
    """Another connection kept its lock for longer than we wait."""

    sqlite_errorname = "SQLITE_BUSY"


class SQLiteDump(Dump):
    """The stream of a private copy, and the check of that copy running beside it."""

    def __init__(self, stream: Readable, expected_size: int, check: Future[DumpReport]) -> None:
        self.stream = stream
        self.expected_size = expected_size
        self._check = check

    def report(self) -> DumpReport:
        return self._check.result()


@contextmanager
def dumping(database: Database, selection: Selection) -> Iterator[Dump]:
    """A dump of *database*: copied under a short read lock, then checked and streamed at once."""
    with private_folder() as folder:
        copy, cut = _prepare(database, selection, folder)
        with copy.open("rb", buffering=0) as stream, ThreadPoolExecutor(1) as beside:
            check = beside.submit(_check, copy, database, cut)
            yield SQLiteDump(stream, copy.stat().st_size, check)


def copy_online(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Copy all pages in one step, so that no writer can restart it; wait LOCK_TIMEOUT for a lock."""
    source.execute(f"PRAGMA busy_timeout = {int(LOCK_TIMEOUT * 1000)}")
    source.backup(target, pages=-1, progress=refuse_to_wait)


def refuse_to_wait(status: int, remaining: int, total: int) -> None:
    """For ``Connection.backup``, which would ask for a lock for ever; each asking waited already."""
    if status & 0xFF in _BUSY:
        raise Locked("it is locked by another connection")


def _prepare(database: Database, selection: Selection, folder: Path) -> tuple[Path, schema.Cut]:
    with live(database) as source:
        cut = plan(database, source, selection)
        copy = folder / "copy.sqlite3"
        copy.touch(mode=0o600)
        with closing(sqlite3.connect(copy, isolation_level=None)) as target:
            # A copy that is thrown away on any failure needs neither a journal nor a flushed disk;
            # a large cache would only hold its pages back.
            for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE", "cache_size = 16"):
                target.execute(f"PRAGMA {pragma}")
            copy_online(source, target)
    if cut.copies > 1:
        copy = _take_out(cut, copy, database)
    return copy, cut


def plan(database: Database, source: sqlite3.Connection, selection: Selection) -> schema.Cut:
    """What the dump will leave out, found possible.

    :raises DatabaseUnavailable: there is nothing to back up.
    :raises UsageError: the selection cannot be honoured.
    :raises NotEnoughSpace: for the temporary copies.
    """
    if selection.extra_options:
        raise UsageError(
            f"extra_options of the database {database.alias!r} are for a dump tool, and SQLite has none: remove them."
        )
    if not schema.tables(source).selectable:
        raise DatabaseUnavailable(
            f"The database {database.alias!r} has no table: an empty database is not backed up. "
            "Check NAME in DATABASES, or run migrate first."
        )
    cut = schema.cut(source, selection, database.alias)
    pages, page_size = (source.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    require_temporary_space(pages * page_size * cut.copies)
    return cut


def _take_out(cut: schema.Cut, copy: Path, database: Database) -> Path:
    """Delete what is left out, and write the rest anew: free pages would keep the deleted rows."""
    result = copy.with_name("cut.sqlite3")
    result.touch(mode=0o600)
    try:
        with open_private(copy, database.settings) as connection:
            connection.execute("PRAGMA journal_mode = MEMORY")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("BEGIN")
            _delete_rows(connection, cut.emptied)
            _drop(connection, cut.dropped)
            connection.execute("COMMIT")
            connection.execute("VACUUM INTO ?", (str(result),))
    except sqlite3.DatabaseError as error:
        raise DumpFailed(
            f"The left-out tables of the database {database.alias!r} could not be taken out of the copy: {error}. "
            "Nothing was published."
        ) from error
    copy.unlink()
    return result


def _delete_rows(connection: sqlite3.Connection, names: tuple[str, ...]) -> None:
    """Empty the tables without their triggers seeing it: a trigger would change tables that stay."""
    triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {schema.quoted(name)}")
    for name in names:
        connection.execute(f"DELETE FROM {schema.quoted(name)}")
    for _, sql in triggers:
        connection.execute(sql)


def _drop(connection: sqlite3.Connection, names: tuple[str, ...]) -> None:
    if not names:
        return
    for (view,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'view'").fetchall():
        connection.execute(f"DROP VIEW {schema.quoted(view)}")  # it may show a table that is not there
    for name in names:
        connection.execute(f"DROP TABLE {schema.quoted(name)}")


def _check(copy: Path, database: Database, cut: schema.Cut) -> DumpReport:
    try:
        with open_private(copy, database.settings, immutable=True) as connection:
            structure_errors = quick_check(connection)
            rows = schema.count_rows(connection)
            migrations = schema.last_migrations(connection)
    except sqlite3.DatabaseError as error:
        raise unavailable(database.alias, Path(str(database.settings["NAME"])), error) from error
    if structure_errors:
        raise DumpFailed(
            f"The database {database.alias!r} is damaged, so the copy is not published: {structure_errors}. "
            "Restore the newest good backup, or recover it with the sqlite3 shell's `.recover`."
        )
    return DumpReport(_facts(), _tables(rows), cut.emptied, migrations)


def quick_check(connection: sqlite3.Connection) -> str:
    """What SQLite finds wrong with the structure of every page and row; empty when nothing."""
    return _findings(connection, "quick_check")


def full_check(connection: sqlite3.Connection) -> str:
    """As quick_check, and every index against its table: many times slower on random keys."""
    return _findings(connection, "integrity_check")


def _findings(connection: sqlite3.Connection, pragma: str) -> str:
    found = [line for (line,) in connection.execute(f"PRAGMA {pragma}(5)")]
    return "" if found == ["ok"] else "; ".join(found)


def _tables(rows: Mapping[str, int]) -> tuple[Table, ...]:
    return tuple(Table(name=name, rows=count, exact=True) for name, count in rows.items())


def _facts() -> EngineFacts:
    version: dict[str, Any] = {"server_version": sqlite3.sqlite_version, "tool_version": sqlite3.sqlite_version}
    return EngineFacts(vendor="sqlite", tool="sqlite3 backup API", format="sqlite3", **version)
