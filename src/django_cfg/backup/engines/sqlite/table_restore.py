"""Some tables of a backup into the database as it is: one transaction over the live file, the scratch attached."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from django_cfg.backup.engines.base import Database, SwitchResult
from django_cfg.backup.engines.sqlite import schema
from django_cfg.backup.engines.sqlite.connection import LOCK_TIMEOUT, live, open_private, uri
from django_cfg.backup.engines.sqlite.schema import quoted
from django_cfg.backup.engines.sqlite.staging import SQLiteRestoration
from django_cfg.backup.engines.table_comparison import matching
from django_cfg.backup.errors import RestoreFailed, RestoreRefused
from django_cfg.backup.manifest import Manifest

Violation = tuple[object, ...]  # as PRAGMA foreign_key_check tells it


class SomeTables(SQLiteRestoration):
    """The scratch is loaded and checked whole, and then gives only the *chosen* tables."""

    def __init__(
        self, database: Database, target: Path, workshop: Path, *, keep_old: bool, chosen: Sequence[str]
    ) -> None:
        super().__init__(database, target, workshop, keep_old=keep_old)
        self._chosen = chosen

    def switch(self) -> SwitchResult:
        try:
            with open_private(self._target, self._database) as connection, _transaction(connection, self._scratch):
                if self._keep_old:
                    wal = connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
                    self._held.copy(through_sqlite=wal)
                self._replace(connection)
                _change_schema_version(connection)
        except sqlite3.DatabaseError as error:
            raise self._failed(error) from error
        return self._let_out()

    def _replace(self, connection: sqlite3.Connection) -> None:
        before = set(_violations(connection, self._chosen))
        triggers = connection.execute("SELECT name, sql FROM main.sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER main.{quoted(name)}")
        for table in self._chosen:
            _copy(connection, table)
        for _, sql in triggers:
            connection.execute(sql)
        if broken := [violation for violation in _violations(connection, self._chosen) if violation not in before]:
            raise RestoreFailed(
                f"{len(broken)} rows would refer to rows that are not there: {_in_words(broken)}. The database "
                f"{self._database.alias!r} is as it was. Restore those tables too (--tables), or the whole backup."
            )


def choose_tables(database: Database, manifest: Manifest, patterns: Sequence[str]) -> list[str]:
    """The tables that *patterns* mean, found in the backup and in the database.

    :raises UsageError: a pattern matches nothing in the backup.
    :raises RestoreRefused: the database lacks one of them, or their rows were left out.
    """
    stored = [table.name for table in manifest.tables]
    chosen = matching(stored, patterns, "--tables", database.alias)
    with live(database) as connection:
        there = schema.tables(connection).ordinary
    if missing := [name for name in chosen if name not in there]:
        _refuse(missing, f"the database {database.alias!r} has no ordinary table of that name")
    if emptied := [name for name in chosen if name in manifest.excluded]:
        _refuse(emptied, "the backup left out their rows")
    return list(chosen)


def foreign_keys(database: Database, chosen: Sequence[str]) -> list[str]:
    """The foreign keys between the *chosen* tables and others, in words."""
    with live(database) as connection:
        return [
            f"{child}.{column} to {parent}"
            for child in schema.tables(connection).ordinary
            for column, parent in schema.references(connection, child)
            if (child in chosen) != (parent in chosen)
        ]


@contextmanager
def _transaction(connection: sqlite3.Connection, scratch: Path) -> Iterator[None]:
    """Whoever reads or writes waits; an end by whatever means leaves the old state."""
    connection.execute(f"PRAGMA busy_timeout = {int(LOCK_TIMEOUT * 1000)}")
    connection.execute("ATTACH ? AS restored", (uri(scratch, immutable="1"),))
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _copy(connection: sqlite3.Connection, table: str) -> None:
    stored, there = _columns(connection, "restored", table), _columns(connection, "main", table)
    if lost := [column for column in stored if column not in there]:
        raise RestoreFailed(
            f"The table {table} of the backup has the columns {', '.join(lost)}, which the database has not any more. "
            "Nothing was changed. Restore the whole backup, into another database (--to) if need be."
        )
    names = ", ".join(map(quoted, stored))
    connection.execute(f"DELETE FROM main.{quoted(table)}")
    connection.execute(f"INSERT INTO main.{quoted(table)} ({names}) SELECT {names} FROM restored.{quoted(table)}")
    if connection.execute("SELECT 1 FROM restored.sqlite_master WHERE name = 'sqlite_sequence'").fetchone():
        connection.execute(
            "UPDATE main.sqlite_sequence SET seq = (SELECT seq FROM restored.sqlite_sequence WHERE name = ?1) "
            "WHERE name = ?1 AND ?1 IN (SELECT name FROM restored.sqlite_sequence)",
            (table,),
        )


def _change_schema_version(connection: sqlite3.Connection) -> None:
    """By this it is seen later that the switch has happened, as by the whole copy, which changes it too."""
    (version,) = connection.execute("PRAGMA main.schema_version").fetchone()
    connection.execute(f"PRAGMA main.schema_version = {version + 1}")


def _columns(connection: sqlite3.Connection, database: str, table: str) -> list[str]:
    """Those that are stored; generated ones make themselves."""
    query = "SELECT name FROM pragma_table_xinfo(?, ?) WHERE hidden = 0"
    return [name for (name,) in connection.execute(query, (table, database))]


def _violations(connection: sqlite3.Connection, chosen: Sequence[str]) -> Iterator[Violation]:
    """Rows, of the *chosen* tables and of those that refer to them, that miss their partner."""
    for child in schema.tables(connection).ordinary:
        if child in chosen or any(parent in chosen for _, parent in schema.references(connection, child)):
            yield from connection.execute(f"PRAGMA main.foreign_key_check({quoted(child)})")


def _in_words(broken: Sequence[Violation]) -> str:
    return ", ".join(sorted({f"{child} to {parent}" for child, _, parent, _ in broken}))


def _refuse(names: Sequence[str], why: str) -> None:
    raise RestoreRefused(
        f"{', '.join(names)} cannot be restored on their own, since {why}: restore the whole backup, into another "
        "database (--to) if need be."
    )
