"""The dump: an online copy made by SQLite, streamed while a second connection checks it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django_cfg.backup.engines.base import Database, Dump, DumpReport, Selection
from django_cfg.backup.engines.sqlite import schema
from django_cfg.backup.engines.sqlite.connection import open_private, unavailable
from django_cfg.backup.engines.sqlite.copy import Copy, copying
from django_cfg.backup.engines.sqlite.interruptible import Stop, beside
from django_cfg.backup.errors import DumpFailed
from django_cfg.backup.manifest import EngineFacts, Table
from django_cfg.backup.pipeline.stream import Readable
from django_cfg.backup.process.private_dir import private_dir


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
    """A dump of *database*: copied under a short read lock, streamed as the copy comes, checked beside the stream."""
    with (
        private_dir() as folder,
        copying(database, selection, folder) as copy,
        beside(lambda stop: _check(copy, database, stop)) as check,
    ):
        yield SQLiteDump(copy, copy.size, check)


def _check(copy: Copy, database: Database, stop: Stop) -> DumpReport:
    with stop.by(copy.abandon):
        copy.wait()
    try:
        with open_private(copy.path, database, immutable=True) as connection, stop.by(connection.interrupt):
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
    return DumpReport(_facts(), _tables(rows), copy.cut.emptied, migrations)


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
