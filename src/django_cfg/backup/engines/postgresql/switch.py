"""The switch: both databases get their new names in one transaction, or keep their old ones.

The target is never closed with ALLOW_CONNECTIONS: if this process were killed then, it would stay closed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.postgresql import database_properties
from django_cfg.backup.engines.postgresql.connection import connect, connect_to_restore
from django_cfg.backup.engines.postgresql.error_text import describe_error, get_sqlstate
from django_cfg.backup.engines.postgresql.schema import NO_TIMEOUTS_LOCAL, execute, fetch_rows, quote_name
from django_cfg.backup.errors import RestoreFailed
from django_cfg.backup.manifest import DatabaseProperties
from django_cfg.backup.process.threads import start_thread

_OBJECT_IN_USE = "55006"  # https://www.postgresql.org/docs/current/errcodes-appendix.html
_PAUSE = 0.1  # seconds between two attempts to end the sessions of a database

# Autovacuum gives way to the switch.
_SESSIONS = """
SELECT 'pid ' || pid || coalesce(', user ' || usename, '') || coalesce(', ' || nullif(application_name, ''), '')
    || coalesce(', from ' || host(client_addr), '')
FROM pg_stat_activity
WHERE datname = %s AND pid <> pg_backend_pid() AND coalesce(backend_type, '') <> 'autovacuum worker'
UNION ALL
SELECT 'the prepared transaction ' || gid FROM pg_prepared_xacts WHERE database = %s
ORDER BY 1
"""
_PIDS = "SELECT pid FROM pg_stat_activity WHERE datid = %s AND pid <> pg_backend_pid()"


def list_sessions(connection: Any, name: str) -> list[str]:
    """Describe the sessions of the database *name* other than *connection*, and its prepared transactions."""
    return [text for (text,) in fetch_rows(connection, _SESSIONS, [name, name])]


def check_switch(connection: Any, staging: str, target: str, alias: str) -> None:
    """Give the staging database the target's properties and roll that back, before hours of loading.

    :raises RestoreFailed: this role may not do it.
    """
    with explain_refusal(alias):
        statements = database_properties.build_copy(connection, staging, target)
        execute(connection, "BEGIN", *statements, "ROLLBACK")


def switch_databases(
    maintenance: Database,
    staging: str,
    target: str,
    kept_name: str | None,
    lost: DatabaseProperties | None,
    *,
    disconnect: bool,
) -> list[str]:
    """Rename the database *staging* to *target*, and the previous target to *kept_name* (None: there was none).

    :param lost: what the target had, if it is not there and the backup knows.
    :returns: what of *lost* the server refused.
    :raises RestoreFailed: nothing has changed.
    """
    with connect_to_restore(maintenance) as connection:
        _end_sessions(connection, _find_oid(connection, staging))  # of a check that was not closed
        sessions = list_sessions(connection, target)
        disconnected = _disconnected(maintenance, target) if disconnect else nullcontext()
        with disconnected, explain_refusal(maintenance.alias, connection, target, sessions):
            execute(connection, "BEGIN", NO_TIMEOUTS_LOCAL)
            if kept_name:
                execute(connection, *database_properties.build_copy(connection, staging, target))
                execute(connection, _build_rename(target, kept_name))
            remainder = database_properties.build_lost_remainder(staging, lost) if lost else ()
            failures = database_properties.execute_where_possible(connection, remainder)
            execute(connection, _build_rename(staging, target), "COMMIT")
    return failures


def _build_rename(old: str, new: str) -> str:
    return f"ALTER DATABASE {quote_name(old)} RENAME TO {quote_name(new)}"


@contextmanager
def _disconnected(maintenance: Database, name: str) -> Iterator[None]:
    """End the sessions of the database *name* again and again during the block.

    While the block renames it, new ones have to wait, and then the server finds no such name.
    """
    with connect(maintenance) as connection:
        oid = _find_oid(connection, name)
        stop = threading.Event()

        def end_sessions() -> None:
            while not stop.is_set():
                _end_sessions(connection, oid)
                stop.wait(_PAUSE)

        thread = start_thread(end_sessions, "backup-switch")
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _find_oid(connection: Any, name: str) -> int | None:
    """Return the number of a database: once it is renamed, its name is another database's."""
    found = fetch_rows(connection, "SELECT oid FROM pg_database WHERE datname = %s", [name])
    return found[0][0] if found else None


def _end_sessions(connection: Any, oid: int | None) -> None:
    for (pid,) in fetch_rows(connection, _PIDS, [oid]):
        with suppress(Exception):  # not permitted: a session that stays is named when the renaming fails
            fetch_rows(connection, "SELECT pg_terminate_backend(%s)", [pid])


@contextmanager
def explain_refusal(
    alias: str, connection: Any = None, target: str = "", sessions: list[str] | None = None
) -> Iterator[None]:
    """Explain why this role may not give a staging database the target's properties, or its name.

    :raises RestoreFailed: the server refuses it.
    """
    try:
        yield
    except Exception as error:  # psycopg 2 and 3 share no class but Exception
        state = get_sqlstate(error)
        if state is None:
            raise
        if state == _OBJECT_IN_USE:
            execute(connection, "ROLLBACK")
            found = "; ".join(list_sessions(connection, target) or sessions or ["they have left since"])
            raise RestoreFailed(
                f"Other connections use the database {alias!r}, so the restored data could not replace it and it is "
                f"as it was: {found}. Stop the site and its workers and restore again, or let the restore end them "
                "with --disconnect."
            ) from error
        raise RestoreFailed(
            f"The restored data could not replace the database {alias!r}, which is as it was: "
            f"{describe_error(error)}. Restore with a role that owns the database, or a superuser "
            "(BackupDatabaseConfig.connection), or with --in-place."
        ) from error
