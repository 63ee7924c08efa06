"""The dump: a private copy of the live database, taken while others write, streamed while it is checked.

With a rollback journal no connection can change the file while a read lock is held: `dd` copies it, and the part that
is copied already can be streamed. With a write-ahead log the file is only part of the data, so SQLite copies. Either
way the lock is held for the copy alone, not for the compression or the storage.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO

from django_cfg.backup.engines.base import Database, Dump, DumpReport, Selection
from django_cfg.backup.engines.sqlite import schema
from django_cfg.backup.engines.sqlite.connection import (
    Interrupts,
    explain_unavailable,
    get_database_path,
    open_as_project,
    open_database,
    raise_if_locked,
    run_in_thread,
    run_interruptibly,
)
from django_cfg.backup.errors import DatabaseUnavailable, DumpFailed, NotEnoughSpace, ToolFailed, UsageError
from django_cfg.backup.manifest import EngineFacts, Table
from django_cfg.backup.process.child import Child
from django_cfg.backup.process.pipes import BLOCK
from django_cfg.backup.process.private_dir import private_dir

_POLL = 0.005  # seconds between two checks how far the copy is
_STEP = 4096  # pages that SQLite copies between two checks for a signal


class Copy:
    """A complete copy: a stream of bytes, and a file to be checked."""

    def __init__(self, path: Path, file: IO[bytes], selected: schema.SelectedTables) -> None:
        self.path, self.selected = path, selected
        self.size = path.stat().st_size
        self._file = file

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def wait(self) -> None:
        """Wait until the file is complete."""

    def cancel(self) -> None:
        """End the program that still writes the file."""


class GrowingCopy(Copy):
    """A copy that `dd` still writes, read as far as it has come; its end releases the lock of the live file."""

    def __init__(self, path: Path, file: IO[bytes], size: int, program: Child, lock: ExitStack) -> None:
        super().__init__(path, file, schema.SelectedTables())
        self.size = size
        self._read = 0
        self._program, self._lock = program, lock
        self._ended = threading.Event()

    def read(self, size: int = BLOCK) -> bytes:
        while self._read < self.size and self._read == self.path.stat().st_size:
            if self._ended.wait(_POLL) and self._read == self.path.stat().st_size:
                raise self._failed()
        block = self._file.read(size)
        self._read += len(block)
        return block

    def wait(self) -> None:
        try:
            self._program.wait()
        except ToolFailed as error:
            raise self._failed() from error
        finally:
            self._lock.close()
            self._ended.set()

    def cancel(self) -> None:
        self._program.kill()

    def _failed(self) -> DumpFailed:
        return DumpFailed(
            f"The copy of the database in {self.path.parent} ended after {self.path.stat().st_size:,} of {self.size:,} "
            f"bytes: {self._program.last_words}. Nothing was published. Set TMPDIR to a folder with room for a copy."
        )


class SQLiteDump(Dump):
    """The stream of a private copy, and the check of that copy in another thread."""

    def __init__(self, copy: Copy, check: Future[DumpReport]) -> None:
        self.stream, self.expected_size = copy, copy.size
        self._check = check

    def report(self) -> DumpReport:
        return self._check.result()


@contextmanager
def open_dump(database: Database, selection: Selection) -> Iterator[Dump]:
    """Copy *database* under a short read lock, stream the copy as it grows, and check it in another thread."""
    with (
        private_dir() as folder,
        _open_copy(database, selection, folder) as copy,
        run_in_thread(lambda interrupts: _check(copy, database, interrupts)) as check,
    ):
        yield SQLiteDump(copy, check)


def check_selection(database: Database, source: sqlite3.Connection, selection: Selection) -> schema.SelectedTables:
    """Return what a dump of the connection *source* leaves out, and check that the dump is possible.

    :raises DatabaseUnavailable: there is nothing to back up.
    :raises UsageError: the selection cannot be honoured.
    :raises NotEnoughSpace: the temporary copies do not fit.
    """
    if selection.extra_options:
        raise UsageError(
            f"extra_options of the database {database.alias!r} are for a dump tool, and SQLite has none: remove them."
        )
    if not schema.list_tables(source).selectable:
        raise DatabaseUnavailable(
            f"The database {database.alias!r} has no table: an empty database is not backed up. "
            "Check NAME in DATABASES, or run migrate first."
        )
    selected = schema.select_tables(source, selection, database.alias)
    size = int(schema.read_pragma(source, "page_count")) * int(schema.read_pragma(source, "page_size"))
    require_temporary_space(size * selected.copies)
    return selected


def require_temporary_space(needed: int) -> None:
    """Check that *needed* bytes are free where temporary files go.

    :raises NotEnoughSpace: fewer are free.
    """
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < needed:
        advice = "A temporary copy is made there: free some space, or set TMPDIR to another folder."
        raise NotEnoughSpace.of(folder, needed, free, advice)


@contextmanager
def _open_copy(database: Database, selection: Selection, folder: Path) -> Iterator[Copy]:
    """Copy *database* into *folder*, without what *selection* leaves out.

    :raises DatabaseUnavailable: it cannot be read, or holds nothing.
    :raises UsageError: the selection cannot be honoured.
    """
    path = folder / "copy.sqlite3"
    path.touch(mode=0o600)
    with ExitStack() as lock:
        source = lock.enter_context(open_database(database))
        selected = check_selection(database, source, selection)
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()  # takes the read lock
        if selected.copies == 1 and schema.read_pragma(source, "journal_mode") != "wal" and shutil.which("dd"):
            with _copy_by_program(get_database_path(database), path, lock) as copy:
                yield copy
            return
        _copy_by_sqlite(source, path)
    if selected.copies > 1:
        path = run_interruptibly(lambda interrupts: _write_selection(selected, path, database, interrupts))
    with path.open("rb", buffering=0) as file:
        yield Copy(path, file, selected)


@contextmanager
def _copy_by_program(source: Path, path: Path, lock: ExitStack) -> Iterator[Copy]:
    """Copy the file *source*, whose read *lock* is held until the program has ended.

    The file is not opened in this process: closing it would drop the locks of all its connections.
    """
    argv = ["dd", f"if={source}", f"of={path}", f"bs={BLOCK}", "conv=notrunc"]
    with Child(argv) as program, path.open("rb", buffering=0) as file:
        yield GrowingCopy(path, file, source.stat().st_size, program, lock)


def _copy_by_sqlite(source: sqlite3.Connection, path: Path) -> None:
    """Copy all pages; the read transaction of *source* keeps writers from restarting the copy between its steps."""
    with closing(sqlite3.connect(path, isolation_level=None)) as target:
        # The copy is deleted after any failure: it needs neither a journal nor a flushed disk. A large cache
        # would only delay its pages.
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE", "cache_size = 16"):
            target.execute(f"PRAGMA {pragma}")
        source.backup(target, pages=_STEP, progress=raise_if_locked)


def _write_selection(selected: schema.SelectedTables, copy: Path, database: Database, interrupts: Interrupts) -> Path:
    """Delete what is left out, and write the rest again: free pages would keep the deleted rows."""
    result = copy.with_name("selected.sqlite3")
    result.touch(mode=0o600)
    try:
        with open_as_project(copy, database, interrupts) as connection:
            connection.execute("PRAGMA journal_mode = MEMORY")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("BEGIN")
            with schema.without_triggers(connection):
                for name in selected.emptied:
                    connection.execute(f"DELETE FROM {schema.quote_name(name)}")
                schema.rebuild_search_indexes(connection, selected.emptied)
                schema.forget_removed_words(connection, selected.emptied)
            if selected.dropped:
                for (view,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'view'").fetchall():
                    connection.execute(f"DROP VIEW {schema.quote_name(view)}")  # it may show a table that is dropped
            for name in selected.dropped:
                connection.execute(f"DROP TABLE {schema.quote_name(name)}")
            connection.execute("COMMIT")
            connection.execute("VACUUM INTO ?", (str(result),))
    except sqlite3.DatabaseError as error:
        raise DumpFailed(
            f"The left-out tables of the database {database.alias!r} could not be removed from the copy: {error}. "
            "Nothing was published."
        ) from error
    copy.unlink()
    return result


def _check(copy: Copy, database: Database, interrupts: Interrupts) -> DumpReport:
    with interrupts.registered(copy.cancel):
        copy.wait()
    try:
        with open_as_project(copy.path, database, interrupts, immutable=True) as connection:
            damage = schema.find_damage(connection)
            tables = tuple(
                Table(name=name, rows=rows, exact=True) for name, rows in schema.count_rows(connection).items()
            )
            migrations = schema.fetch_migrations(connection)
    except sqlite3.DatabaseError as error:
        raise explain_unavailable(database.alias, get_database_path(database), error) from error
    if damage:
        raise DumpFailed(
            f"The database {database.alias!r} is damaged, so the copy is not published: {damage}. "
            "Restore the newest good backup, or recover it with the sqlite3 shell's `.recover`."
        )
    version = sqlite3.sqlite_version
    facts = EngineFacts(
        vendor="sqlite", server_version=version, tool="sqlite3 backup API", tool_version=version, format="sqlite3"
    )
    return DumpReport(facts, tables, copy.selected.emptied, migrations)
