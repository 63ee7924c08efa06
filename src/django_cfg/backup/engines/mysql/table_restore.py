"""A restore of some tables: one transaction empties them and fills them from a staging schema.

The session does not check foreign keys, which would cascade; they are checked by query at the end. The transaction must
hold no data definition statement: it would commit it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from django_cfg.backup.engines.base import Database, RestoreOptions, SwitchResult
from django_cfg.backup.engines.mysql import foreign_key_check, schema
from django_cfg.backup.engines.mysql.dump_loader import DumpLoader
from django_cfg.backup.engines.mysql.error_advice import explain_restore_errors
from django_cfg.backup.engines.mysql.error_text import get_error_text, remove_row_data
from django_cfg.backup.engines.mysql.session import Session, end_other_sessions, quote_name
from django_cfg.backup.engines.mysql.staging import AS_IT_WAS, StagingRestoration
from django_cfg.backup.engines.table_comparison import compare_tables, matching
from django_cfg.backup.errors import RestoreFailed, RestoreRefused
from django_cfg.backup.manifest import Manifest

# Dates and zeros that any SQL mode could have written are accepted; no value is changed silently.
_SESSION = (
    "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,STRICT_ALL_TABLES', time_zone = '+00:00'",
    "SET SESSION foreign_key_checks = 0, unique_checks = 1, sql_safe_updates = 0",
)
_MARIADB_SESSION = ("SET SESSION check_constraint_checks = 1",)  # rows come into a table as it is now
_UNSAFE_FOR_BINLOG = 1592  # a note on the statement, not on a value
_TRIGGERS = """
SELECT event_object_table, trigger_name FROM information_schema.triggers
WHERE event_object_schema = %s AND event_manipulation IN ('INSERT', 'DELETE') ORDER BY 1, 2
"""
_HIGHER_AUTO_INCREMENT = """
SELECT live.table_name, restored.auto_increment
FROM information_schema.tables AS live JOIN information_schema.tables AS restored USING (table_name)
WHERE live.table_schema = %s AND restored.table_schema = %s AND restored.auto_increment > live.auto_increment
"""
_COLUMNS = """
SELECT column_name, column_type, data_type, COALESCE(datetime_precision, 0), COALESCE(generation_expression, '') = ''
FROM information_schema.columns WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position
"""
# Between types of one line the server, in strict mode, refuses or reports a value that would not stay the same.
# Between all others, and from one length or precision of a type that is not here to another, it may change it silently.
_FAMILIES = (
    {"tinyint", "smallint", "mediumint", "int", "bigint"},
    {"char", "varchar", "tinytext", "text", "mediumtext", "longtext"},
    {"varbinary", "tinyblob", "blob", "mediumblob", "longblob"},
    {"date", "datetime"},
    *({data_type} for data_type in ("timestamp", "time", "decimal", "bit", "enum", "set")),
)
_ELSEWHERE = "restore the complete backup, into another database (--to) if necessary"


@dataclass(frozen=True)
class Column:
    name: str
    type: str  # as "varchar(100)"
    data_type: str  # as "varchar"
    precision: int  # of the fractions of seconds
    is_stored: bool  # False: generated from other columns

    def preserves(self, other: Column) -> bool:
        """Return True if each value of *other* either stays the same here, or is refused."""
        if self.type == other.type:
            return True
        related = any({self.data_type, other.data_type} <= family for family in _FAMILIES)
        trims_spaces = self.data_type == "char" != other.data_type
        return related and not trims_spaces and self.precision >= other.precision


class TableRestoration(StagingRestoration):
    """The complete backup is loaded into the staging schema and checked; only the chosen tables are taken from it."""

    def __init__(
        self, database: Database, session: Session, loader: DumpLoader, options: RestoreOptions, manifest: Manifest
    ) -> None:
        super().__init__(database, session, loader, options, export=list)  # views, routines and events stay
        self._manifest = manifest
        self._chosen = choose_tables(session, manifest, options.tables)

    def switch(self) -> SwitchResult:
        session = self._session
        if self._options.disconnect:
            end_other_sessions(session)
        with explain_restore_errors(session.alias, AS_IT_WAS):
            session.execute(*_SESSION, *(_MARIADB_SESSION if session.is_mariadb else ()))
            keys = foreign_key_check.select_keys(session, self._chosen)
            orphans = foreign_key_check.count_orphans(session, keys)
            with _transaction(session):
                self._lock_definitions()
                self._replace_rows()
                foreign_key_check.refuse_new_orphans(session, orphans)
                self._compare_counts()
        return SwitchResult(None, self._raise_auto_increments())

    def _lock_definitions(self) -> None:
        """Keep others from altering the tables or adding triggers; find what they did while the backup was loaded."""
        for table in self._chosen:
            self._session.execute(f"SELECT 1 FROM {quote_name(self._session.database, table)} LIMIT 0")
        _refuse_unsuitable(self._session, self._chosen)
        versioned = [table.name for table in schema.list_tables(self._session, self._staging) if table.is_versioned]
        _refuse([name for name in self._chosen if name in versioned], "the backup holds the history of")

    def _replace_rows(self) -> None:
        session = self._session
        columns = {
            table: ", ".join(map(quote_name, _match_columns(session, table, self._staging))) for table in self._chosen
        }
        for table, names in columns.items():
            target, source = quote_name(session.database, table), quote_name(self._staging, table)
            session.execute(f"DELETE FROM {target}", f"INSERT INTO {target} ({names}) SELECT {names} FROM {source}")
            _refuse_warnings(session, table)

    def _compare_counts(self) -> None:
        tables = {table.name: table for table in schema.list_tables(self._session)}
        compare_tables(
            [table for table in self._manifest.tables if table.name in self._chosen],
            {name: schema.count_rows(self._session, tables[name]) for name in self._chosen},
            self._manifest.name,
        )

    def _raise_auto_increments(self) -> str:
        """Raise AUTO_INCREMENT to the backup's where that is higher; return the statements that failed."""
        session, failed = self._session, []
        for table, number in session.fetch_text(_HIGHER_AUTO_INCREMENT, [session.database, self._staging]):
            if table in self._chosen:
                statement = f"ALTER TABLE {quote_name(session.database, table)} AUTO_INCREMENT = {int(number)}"
                try:
                    session.execute(statement)
                except Exception as error:  # noqa: BLE001  reported: the rows are restored
                    failed.append(f"{statement} ({get_error_text(error)})")
        return f"To continue AUTO_INCREMENT where the backup left it: {'; '.join(failed)}." if failed else ""


def choose_tables(session: Session, manifest: Manifest, patterns: Sequence[str]) -> list[str]:
    """Return the tables that *patterns* match in the backup.

    :raises UsageError: a pattern matches nothing in the backup.
    :raises RestoreRefused: the backup has no rows of a table, or the database lacks it or cannot replace it alone.
    """
    chosen = matching([table.name for table in manifest.tables], patterns, "--tables", session.alias)
    existing = {table.name for table in schema.list_tables(session)}
    _refuse([name for name in chosen if name not in existing], f"the database {session.alias!r} has no table")
    _refuse([name for name in chosen if name in manifest.excluded], "the backup left out the rows of")
    _refuse_unsuitable(session, chosen)
    return list(chosen)


@contextmanager
def _transaction(session: Session) -> Iterator[None]:
    session.execute("START TRANSACTION")
    try:
        yield
    except BaseException:
        with suppress(Exception):  # the connection is lost: the server rolls back
            session.execute("ROLLBACK")
        raise
    try:
        session.execute("COMMIT")
    except Exception as error:
        raise RestoreFailed(
            f"The server did not answer whether the restored tables of {session.alias!r} are in place: "
            f"{get_error_text(error)}. All of them are as they were, or all of them are as in the backup: check which, "
            "and restore again if necessary."
        ) from error


def _match_columns(session: Session, table: str, staging: str) -> list[str]:
    """Return the columns of *table* that take values from the schema *staging*; generated columns need none.

    :raises RestoreFailed: the backup has other columns, or values of them might change.
    """
    source, target = _read_columns(session, staging, table), _read_columns(session, session.database, table)
    lost = [
        name for name, column in source.items() if column.is_stored and not (name in target and target[name].is_stored)
    ]
    if lost:
        raise _columns_refused(table, f"{', '.join(lost)}, which the database does not have any more")
    names = [name for name, column in target.items() if column.is_stored and name in source]
    changed = [f"{n} ({source[n].type}, here {target[n].type})" for n in names if not target[n].preserves(source[n])]
    if changed:
        raise _columns_refused(table, f"{', '.join(changed)}, whose values might not stay the same")
    return names


def _read_columns(session: Session, schema_name: str, table: str) -> Mapping[str, Column]:
    rows = session.fetch_text(_COLUMNS, [schema_name, table])
    columns = (Column(name, type_, data_type, int(precision), bool(s)) for name, type_, data_type, precision, s in rows)
    return {column.name: column for column in columns}


def _columns_refused(table: str, columns: str) -> RestoreFailed:
    return RestoreFailed(
        f"The table {table} of the backup has the columns {columns}. Nothing was changed. {_ELSEWHERE.capitalize()}."
    )


def _refuse_unsuitable(session: Session, chosen: Collection[str]) -> None:
    """Raise RestoreRefused if a table cannot be replaced in one transaction by exactly the rows of the backup."""
    tables = [table for table in schema.list_tables(session) if table.name in chosen]
    others = [f"{table.name} ({table.engine})" for table in tables if table.engine.lower() != "innodb"]
    _refuse(others, "only tables of InnoDB are replaced in one transaction, not")
    _refuse([table.name for table in tables if table.is_versioned], "only the server writes the history of")
    rows = session.fetch_text(_TRIGGERS, [session.database])
    _refuse(
        [f"{name} of {table}" for table, name in rows if table in chosen],
        "these triggers would fire, and the server cannot disable them:",
        "drop them (SHOW CREATE TRIGGER prints how to create them again), restore, and create them again; or restore "
        "the complete backup into another database (--to)",
    )


def _refuse_warnings(session: Session, table: str) -> None:
    """Raise RestoreFailed if the server changed values to make them fit."""
    warnings = [
        remove_row_data(str(text))
        for _, code, text in session.fetch_rows("SHOW WARNINGS")
        if code != _UNSAFE_FOR_BINLOG
    ]
    if warnings:
        raise RestoreFailed(
            f"Rows of {table} do not fit the table as it is now: {'; '.join(warnings[:5])}. {AS_IT_WAS} "
            f"{_ELSEWHERE.capitalize()}."
        )


def _refuse(names: Sequence[str], why: str, advice: str = _ELSEWHERE) -> None:
    if names:
        raise RestoreRefused(f"These tables cannot be restored on their own, since {why} {', '.join(names)}: {advice}.")
