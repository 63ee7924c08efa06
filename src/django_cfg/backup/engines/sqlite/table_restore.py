"""A restore of some tables into the database as it is: one transaction of the live file, the staging file attached."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.sqlite import schema
from django_cfg.backup.engines.sqlite.connection import (
    LOCK_TIMEOUT,
    Interrupts,
    build_uri,
    open_as_project,
    open_database,
)
from django_cfg.backup.engines.sqlite.staging import StagingRestoration
from django_cfg.backup.engines.table_comparison import matching, require_restorable
from django_cfg.backup.errors import RestoreFailed
from django_cfg.backup.manifest import Manifest

Violation = tuple[object, ...]  # a row of PRAGMA foreign_key_check


class TableRestoration(StagingRestoration):
    """The complete staging file is loaded and checked, and then gives only the *chosen* tables."""

    def __init__(
        self, database: Database, target: Path, workspace: Path, *, keep_old: bool, chosen: Sequence[str]
    ) -> None:
        super().__init__(database, target, workspace, keep_old=keep_old)
        self._chosen = chosen

    def _replace_data(self) -> str:
        with open_as_project(self._target, self._database, Interrupts()) as live, _transaction(live, self._staging):
            if self._keep_old:
                self._old_data.copy(wal=schema.read_pragma(live, "journal_mode") == "wal")
            self._replace_rows(live)
            _change_schema_version(live)
        return ""

    def _replace_rows(self, live: sqlite3.Connection) -> None:
        before = set(_find_violations(live, self._chosen))
        with schema.without_triggers(live):
            for table in self._chosen:
                _copy_rows(live, table)
            schema.rebuild_search_indexes(live, self._chosen)
        if broken := [found for found in _find_violations(live, self._chosen) if found not in before]:
            keys = ", ".join(sorted({f"{child} to {parent}" for child, _, parent, _ in broken}))
            raise RestoreFailed(
                f"{len(broken)} rows would refer to missing rows: {keys}. The database {self._database.alias!r} is as "
                "it was. Restore those tables too (--tables), or the complete backup."
            )


def choose_tables(database: Database, manifest: Manifest, patterns: Sequence[str]) -> list[str]:
    """Return the tables that *patterns* match, if the backup and the database have them.

    :raises UsageError: a pattern matches nothing in the backup.
    :raises RestoreRefused: the database lacks one of them, or their rows were left out.
    """
    chosen = matching([table.name for table in manifest.tables], patterns, "--tables", database.alias)
    with open_database(database) as connection:
        existing = schema.list_tables(connection).ordinary
    require_restorable(chosen, existing, manifest.excluded, database.alias)
    return list(chosen)


def list_foreign_keys(database: Database, chosen: Sequence[str]) -> list[str]:
    """Describe the foreign keys between the *chosen* tables and others."""
    with open_database(database) as connection:
        return [
            f"{child}.{column} to {parent}"
            for child in schema.list_tables(connection).ordinary
            for column, parent in schema.list_references(connection, child)
            if (child in chosen) != (parent in chosen)
        ]


@contextmanager
def _transaction(live: sqlite3.Connection, staging: Path) -> Iterator[None]:
    """Make other readers and writers wait; whatever ends the transaction early leaves the old data."""
    live.execute(f"PRAGMA busy_timeout = {int(LOCK_TIMEOUT * 1000)}")
    try:
        live.execute("ATTACH ? AS restored", (build_uri(staging, immutable="1"),))
    except sqlite3.OperationalError as error:
        if "text encoding" not in str(error):
            raise
        raise RestoreFailed(
            "The backup's text has another encoding (UTF-8 or UTF-16) than that of the database, and SQLite copies no "
            "rows between the two. Nothing was changed. Restore the complete backup, into another database (--to) if "
            "necessary."
        ) from error
    live.execute("BEGIN EXCLUSIVE")
    try:
        yield
        live.execute("COMMIT")
    finally:
        if live.in_transaction:
            live.execute("ROLLBACK")


def _copy_rows(live: sqlite3.Connection, table: str) -> None:
    stored, existing = _read_columns(live, "restored", table), _read_columns(live, "main", table)
    if lost := [column for column in stored if column not in existing]:
        raise _columns_refused(table, f"{', '.join(lost)}, which the database no longer has")
    columns = ", ".join(map(schema.quote_name, stored))
    name = schema.quote_name(table)
    live.execute(f"DELETE FROM main.{name}")
    live.execute(f"INSERT INTO main.{name} ({columns}) SELECT {columns} FROM restored.{name}")
    retyped = [column for column in stored if stored[column].casefold() != existing[column].casefold()]
    if changed := [column for column in retyped if _has_changed(live, name, column)]:
        types = ", ".join(f"{column} ({stored[column]}, here {existing[column]})" for column in changed)
        raise _columns_refused(table, f"{types}, whose values would not stay the same")
    if all(_has_sequences(live, database) for database in ("restored", "main")):
        live.execute(
            "UPDATE main.sqlite_sequence SET seq = (SELECT seq FROM restored.sqlite_sequence WHERE name = ?1) "
            "WHERE name = ?1 AND ?1 IN (SELECT name FROM restored.sqlite_sequence)",
            (table,),
        )


def _read_columns(live: sqlite3.Connection, database: str, table: str) -> dict[str, str]:
    """Return the columns that are stored, and their types; generated ones are computed."""
    query = "SELECT name, type FROM pragma_table_xinfo(?, ?) WHERE hidden = 0"
    return dict(live.execute(query, (table, database)).fetchall())


def _has_changed(live: sqlite3.Connection, table: str, column: str) -> bool:
    """Return True if the affinity of a *column* has converted a value, such as the text '007' to the number 7."""
    value = f"quote({schema.quote_name(column)})"
    query = f"SELECT {value} FROM restored.{table} EXCEPT SELECT {value} FROM main.{table} LIMIT 1"
    return live.execute(query).fetchone() is not None


def _has_sequences(live: sqlite3.Connection, database: str) -> bool:
    """Return True if a table of *database* has an AUTOINCREMENT."""
    return live.execute(f"SELECT 1 FROM {database}.sqlite_master WHERE name = 'sqlite_sequence'").fetchone() is not None


def _columns_refused(table: str, columns: str) -> RestoreFailed:
    return RestoreFailed(
        f"The table {table} of the backup has the columns {columns}. "
        "Nothing was changed. Restore the complete backup, into another database (--to) if necessary."
    )


def _change_schema_version(live: sqlite3.Connection) -> None:
    """Mark the switch as done for a later sweep, as the copy of a complete database does."""
    live.execute(f"PRAGMA main.schema_version = {int(schema.read_pragma(live, 'main.schema_version')) + 1}")


def _find_violations(live: sqlite3.Connection, chosen: Sequence[str]) -> Iterator[Violation]:
    """Return the rows of the *chosen* tables, and of those that refer to them, that refer to a missing row."""
    for child in schema.list_tables(live).ordinary:
        if child in chosen or any(parent in chosen for _, parent in schema.list_references(live, child)):
            yield from live.execute(f"PRAGMA main.foreign_key_check({schema.quote_name(child)})")
