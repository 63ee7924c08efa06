"""A private copy of the live database, taken while others write.

With a rollback journal nobody can change the file while a read lock is held: a program copies it, and
what is copied already can be streamed at once. Under a write-ahead log the file is only part of the data, so
SQLite copies. Either way the lock is held for the copy alone, not for the compression or the storage.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO

from django_cfg.backup.engines.base import Database, Selection
from django_cfg.backup.engines.sqlite import schema
from django_cfg.backup.engines.sqlite.connection import database_path, live, open_private
from django_cfg.backup.engines.sqlite.interruptible import Stop, carry_out
from django_cfg.backup.engines.sqlite.private import require_temporary_space
from django_cfg.backup.errors import DatabaseUnavailable, DumpFailed, ToolFailed, UsageError
from django_cfg.backup.process.child import Child
from django_cfg.backup.process.pipes import BLOCK

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_SOON = 0.005  # seconds between two looks at how far the copy is
_STEP = 4096  # pages that SQLite copies before it looks whether a signal came


class Locked(sqlite3.OperationalError):
    """Another connection kept its lock for longer than we wait."""

    sqlite_errorname = "SQLITE_BUSY"


class Copy:
    """A copy that is complete: a stream of bytes, and a file to be checked."""

    def __init__(self, path: Path, file: IO[bytes], cut: schema.Cut) -> None:
        self.path, self.cut = path, cut
        self.size = path.stat().st_size
        self._file = file

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def wait(self) -> None:
        """Wait until the file is complete."""

    def abandon(self) -> None:
        """End what still writes it: it is not wanted any more."""


class FollowedCopy(Copy):
    """A copy under way: read as far as it has come. ``wait`` ends it, and the lock of the live file with it."""

    def __init__(self, path: Path, file: IO[bytes], size: int, program: Child, lock: ExitStack) -> None:
        super().__init__(path, file, schema.Cut())
        self.size = size
        self._read = 0
        self._program, self._lock = program, lock
        self._ended = threading.Event()

    def read(self, size: int = BLOCK) -> bytes:
        while self._read < self.size and self._read == self.path.stat().st_size:
            if self._ended.wait(_SOON) and self._read == self.path.stat().st_size:
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

    def abandon(self) -> None:
        self._program.kill()

    def _failed(self) -> DumpFailed:
        return DumpFailed(
            f"The copy of the database in {self.path.parent} ended after {self.path.stat().st_size:,} of {self.size:,} "
            f"bytes: {self._program.last_words}. Nothing was published. Set TMPDIR to a place with room for a copy."
        )


@contextmanager
def copying(database: Database, selection: Selection, folder: Path) -> Iterator[Copy]:
    """A copy of *database* in *folder*, without what *selection* leaves out.

    :raises DatabaseUnavailable: it cannot be read, or holds nothing.
    :raises UsageError: the selection cannot be honoured.
    """
    path = folder / "copy.sqlite3"
    path.touch(mode=0o600)
    with ExitStack() as lock:
        source = lock.enter_context(live(database))
        cut = plan(database, source, selection)
        if cut.copies == 1 and _is_only_a_file(source):
            with _followed(source, database_path(database), path, lock) as copy:
                yield copy
            return
        _copy_by_sqlite(source, path)
    if cut.copies > 1:
        path = carry_out(lambda stop: _take_out(cut, path, database, stop))
    with path.open("rb", buffering=0) as file:
        yield Copy(path, file, cut)


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


def refuse_to_wait(status: int, remaining: int, total: int) -> None:
    """For ``Connection.backup``, which would ask for a lock for ever; each asking waited already."""
    if status & 0xFF in _BUSY:
        raise Locked("it is locked by another connection")


def _is_only_a_file(source: sqlite3.Connection) -> bool:
    (mode,) = source.execute("PRAGMA journal_mode").fetchone()
    return mode != "wal" and shutil.which("dd") is not None


@contextmanager
def _followed(source: sqlite3.Connection, origin: Path, path: Path, lock: ExitStack) -> Iterator[Copy]:
    """Copy the file *origin*, whose read lock is taken here and held until the program has ended."""
    _begin_to_read(source)
    # not opened in this process: closing it again would drop the locks all its connections hold
    argv = ["dd", f"if={origin}", f"of={path}", f"bs={BLOCK}", "conv=notrunc"]
    with Child(argv) as program, path.open("rb", buffering=0) as file:
        yield FollowedCopy(path, file, origin.stat().st_size, program, lock)


def _copy_by_sqlite(source: sqlite3.Connection, path: Path) -> None:
    """All pages of one moment: the read transaction keeps writers from restarting the copy between its steps."""
    _begin_to_read(source)
    with closing(sqlite3.connect(path, isolation_level=None)) as target:
        # A copy that is thrown away on any failure needs neither a journal nor a flushed disk;
        # a large cache would only hold its pages back.
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE", "cache_size = 16"):
            target.execute(f"PRAGMA {pragma}")
        source.backup(target, pages=_STEP, progress=refuse_to_wait)


def _begin_to_read(source: sqlite3.Connection) -> None:
    """Whoever keeps us from it is waited for as long as LOCK_TIMEOUT."""
    source.execute("BEGIN")
    source.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _take_out(cut: schema.Cut, copy: Path, database: Database, stop: Stop) -> Path:
    """Delete what is left out, and write the rest anew: free pages would keep the deleted rows."""
    result = copy.with_name("cut.sqlite3")
    result.touch(mode=0o600)
    try:
        with open_private(copy, database) as connection, stop.by(connection.interrupt):
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
