"""Some tables of a backup into the database as it is: one transaction empties them and fills them from the scratch.

The session does not check foreign keys meanwhile, which would cascade; at the end they are checked by query. Nothing in
the transaction may define anything: that would commit it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress

from django_cfg.backup.engines.base import Database, RestoreOptions, SwitchResult
from django_cfg.backup.engines.mysql import foreign_key_check, schema, sessions
from django_cfg.backup.engines.mysql.columns import shared
from django_cfg.backup.engines.mysql.error_text import refusing, said
from django_cfg.backup.engines.mysql.load import Loader
from django_cfg.backup.engines.mysql.scratched import AS_IT_WAS, Scratched
from django_cfg.backup.engines.mysql.session import Session, quoted
from django_cfg.backup.engines.table_comparison import compare_tables, matching
from django_cfg.backup.errors import RestoreFailed, RestoreRefused
from django_cfg.backup.manifest import Manifest

# Zeros and dates as lenient as any mode that wrote them, and nothing made to fit in silence.
_SESSION = (
    "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,STRICT_ALL_TABLES', time_zone = '+00:00'",
    "SET SESSION foreign_key_checks = 0, unique_checks = 1, sql_safe_updates = 0",
)
_UNSAFE_FOR_BINLOG = 1592  # a note on the statement, not on a value
_FIRING = """
SELECT event_object_table, trigger_name FROM information_schema.triggers
WHERE event_object_schema = %s AND event_manipulation IN ('INSERT', 'DELETE') ORDER BY 1, 2
"""
_NEXT = """
SELECT live.table_name, restored.auto_increment
FROM information_schema.tables AS live JOIN information_schema.tables AS restored USING (table_name)
WHERE live.table_schema = %s AND restored.table_schema = %s AND restored.auto_increment > live.auto_increment
"""


class SomeTables(Scratched):
    """The scratch is loaded and checked whole, and then gives only the *chosen* tables."""

    def __init__(
        self,
        database: Database,
        session: Session,
        loader: Loader,
        new: str,
        manifest: Manifest,
        options: RestoreOptions,
    ) -> None:
        super().__init__(database, session, loader, new, list, options)  # views, routines and events stay
        self._manifest = manifest
        self._chosen = choose_tables(session, self._alias, manifest, options.tables)

    def switch(self) -> SwitchResult:
        session = self._session
        if self._options.disconnect:
            sessions.disconnect(session)
        with refusing(self._alias, AS_IT_WAS):
            session.execute(*_SESSION)
            before = foreign_key_check.missing(session, foreign_key_check.keys_of(session, self._chosen))
            with _transaction(session, self._alias):
                self._hold_definitions()
                self._replace()
                foreign_key_check.require_partners(session, before, self._alias)
                self._count()
        return SwitchResult(None, self._raise_counters())

    def _hold_definitions(self) -> None:
        """Whoever would change the tables, or give them triggers, waits; what did so while loading is found now."""
        for table in self._chosen:
            self._session.execute(f"SELECT 1 FROM {quoted(self._session.database, table)} LIMIT 0")
        _refuse_unfit(self._session, self._chosen)
        past = [found.name for found in schema.tables(self._session, self._new) if found.versioned]
        _refuse([name for name in self._chosen if name in past], "the backup holds the history of")

    def _replace(self) -> None:
        session = self._session
        taken = {table: ", ".join(map(quoted, shared(session, table, self._new))) for table in self._chosen}
        for table, names in taken.items():
            here, there = quoted(session.database, table), quoted(self._new, table)
            session.execute(f"DELETE FROM {here}", f"INSERT INTO {here} ({names}) SELECT {names} FROM {there}")
            _refuse_changes(session, table)

    def _count(self) -> None:
        found = {table.name: table for table in schema.tables(self._session)}
        compare_tables(
            [table for table in self._manifest.tables if table.name in self._chosen],
            {name: schema.count(self._session, found[name]) for name in self._chosen},
            self._manifest.name,
        )

    def _raise_counters(self) -> str:
        """AUTO_INCREMENT goes on where the backup left it, or where it was if that is later; what went wrong."""
        session, lacking = self._session, []
        for table, number in session.rows(_NEXT, [session.database, self._new]):
            if table in self._chosen:
                statement = f"ALTER TABLE {quoted(session.database, table)} AUTO_INCREMENT = {int(number)}"
                try:
                    session.execute(statement)
                except Exception as error:  # noqa: BLE001  the rows are back; drivers share no class but Exception
                    lacking.append(f"{statement} ({said(error)})")
        return f"To go on numbering where the backup left it: {'; '.join(lacking)}." if lacking else ""


def choose_tables(session: Session, alias: str, manifest: Manifest, patterns: Sequence[str]) -> list[str]:
    """The tables that *patterns* mean, found in the backup and in the database.

    :raises UsageError: a pattern matches nothing in the backup.
    :raises RestoreRefused: the database lacks one of them or cannot replace it alone, or their rows were left out.
    """
    chosen = matching([table.name for table in manifest.tables], patterns, "--tables", alias)
    there = {table.name for table in schema.tables(session)}
    _refuse([name for name in chosen if name not in there], f"the database {alias!r} has no table")
    _refuse([name for name in chosen if name in manifest.excluded], "the backup left out the rows of")
    _refuse_unfit(session, chosen)
    return list(chosen)


@contextmanager
def _transaction(session: Session, alias: str) -> Iterator[None]:
    """An end by whatever means, but by the last statement, leaves the old state."""
    session.execute("START TRANSACTION")
    try:
        yield
    except BaseException:
        with suppress(Exception):  # the connection is lost: the server rolls back by itself
            session.execute("ROLLBACK")
        raise
    _commit(session, alias)


def _commit(session: Session, alias: str) -> None:
    try:
        session.execute("COMMIT")
    except Exception as error:
        raise RestoreFailed(
            f"The server did not answer whether the restored tables of {alias!r} are in place: {said(error)}. They are "
            "wholly as they were or wholly as in the backup: look which, and restore again if need be."
        ) from error


def _refuse_unfit(session: Session, chosen: Collection[str]) -> None:
    """
    :raises RestoreRefused: a table could not be replaced in one transaction, and with the very rows of the backup.
    """
    there = [table for table in schema.tables(session) if table.name in chosen]
    alien = [f"{table.name} ({table.engine})" for table in there if table.engine.lower() != "innodb"]
    _refuse(alien, "only tables of InnoDB are replaced in one transaction, not")
    _refuse([table.name for table in there if table.versioned], "nobody but the server writes the history of")
    firing = [f"{name} of {table}" for table, name in session.rows(_FIRING, [session.database]) if table in chosen]
    _refuse(
        firing,
        "these triggers would fire, and the server cannot switch them off:",
        "drop them (SHOW CREATE TRIGGER tells how to make them again), restore, and make them again; or restore the "
        "whole backup into another database (--to)",
    )


def _refuse_changes(session: Session, table: str) -> None:
    """
    :raises RestoreFailed: the server had to change values to make them fit.
    """
    told = [text for _, code, text in session.rows("SHOW WARNINGS") if code != _UNSAFE_FOR_BINLOG]
    if told:
        raise RestoreFailed(
            f"Rows of {table} do not fit the table as it is now: {'; '.join(map(str, told[:5]))}. {AS_IT_WAS} Restore "
            "the whole backup, into another database (--to) if need be."
        )


def _refuse(
    names: Sequence[str],
    why: str,
    advice: str = "restore the whole backup, into another database (--to) if need be",
) -> None:
    if names:
        raise RestoreRefused(f"These tables cannot be restored on their own, since {why} {', '.join(names)}: {advice}.")
