"""How a PostgreSQL database is reached by Django's driver, and what it means when the server refuses."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.db.utils import Error, load_backend

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.connection_settings import CONNECT_TIMEOUT, merged_settings
from django_cfg.backup.engines.postgresql.error_text import spoken
from django_cfg.backup.engines.postgresql.libpq import names_a_service, parameters, without_service
from django_cfg.backup.engines.postgresql.row_check import SIGN
from django_cfg.backup.errors import (
    BackupError,
    DatabaseUnavailable,
    DumpFailed,
    RestoreFailed,
    ToolFailed,
    VerificationFailed,
)


def connection_settings(database: Database) -> dict[str, Any]:
    """Return Django's settings of *database*, with a timeout to connect."""
    settings = merged_settings(database)
    return settings | {"OPTIONS": _patient(settings.get("OPTIONS", {}))}


def _patient(options: Mapping[str, Any]) -> dict[str, Any]:
    """libpq itself would wait for minutes, in silence; a service may hold a timeout of its own."""
    said = "service" in options or "PGCONNECT_TIMEOUT" in os.environ
    return {**({} if said else {"connect_timeout": CONNECT_TIMEOUT}), **options}


@contextmanager
def connected(database: Database) -> Iterator[Any]:
    """A connection of Django's driver (psycopg 2 or 3) of our own, in autocommit; closed afterwards.

    :raises DatabaseUnavailable: the server does not let us in.
    """
    settings = connection_settings(database)
    own = {name: value for name, value in settings.get("OPTIONS", {}).items() if name != "pool"}
    wrapper = load_backend(settings["ENGINE"]).DatabaseWrapper(_complete(settings, own), database.alias)
    try:
        with wrapper.wrap_database_errors:
            wrapper.connect()
    except Error as error:
        raise unavailable(database, error) from error
    try:
        with wrapper.wrap_database_errors:
            yield wrapper.connection
    except Error as error:
        raise unavailable(database, error) from error
    finally:
        wrapper.connection.close()


def program_settings(database: Database) -> dict[str, Any]:
    """Django's settings for PostgreSQL's programs, which are to connect as the driver does.

    :raises DatabaseUnavailable: a service file is used, and the server it names does not let us in.
    """
    settings = connection_settings(database)
    if not names_a_service(settings):
        return settings
    with connected(database) as connection:
        return without_service(settings, connection)


def unavailable(database: Database, error: Exception) -> DatabaseUnavailable:
    """What the server's refusal means for the reader."""
    text = spoken(str(error)).rstrip(".")
    advice = next((advice for sign, advice in _ADVICE.items() if sign in text.lower()), "Check that the server runs.")
    return DatabaseUnavailable(
        f"The database {database.alias!r} ({location(database)}) does not answer: {text}. {advice}"
    )


@contextmanager
def explaining(alias: str) -> Iterator[None]:
    """Say what it means that pg_dump, or the looking and counting beside it, gave up.

    :raises DumpFailed: for any error that is not one of ours already.
    """
    try:
        yield
    except ToolFailed as error:
        raise _dump_failed(alias, f"{error}") from error
    except BackupError:
        raise
    except Exception as error:  # psycopg 2 and 3 share no class but Exception
        raise _dump_failed(alias, spoken(str(error))) from error


def _dump_failed(alias: str, text: str) -> DumpFailed:
    advice = next((advice for sign, advice in _DUMP_ADVICE.items() if sign in text.lower()), "Nothing was published.")
    return DumpFailed(f"The dump of the database {alias!r} failed. {text}. {advice}")


@contextmanager
def explaining_restore(database: Database) -> Iterator[None]:
    """Say what it means that the server refused a step of a restore beside the target.

    :raises RestoreFailed: for any error of the server.
    """
    try:
        yield
    except BackupError:
        raise
    except Exception as error:  # psycopg 2 and 3 share no class but Exception
        text = spoken(str(error))
        advice = next((advice for sign, advice in _RESTORE_ADVICE.items() if sign in text.lower()), "")
        raise RestoreFailed(
            f"The restore of the database {database.alias!r} failed, and it is as it was: {text}. {advice}".rstrip()
        ) from error


def refused(database: Database, error: ToolFailed) -> BackupError:
    """What it means that the server did not take a restore; the transaction has been rolled back."""
    text = error.last_words
    if SIGN in text:
        found = text.rpartition(SIGN)[2].strip().splitlines()[0]
        return VerificationFailed(f"The restored data differs from its manifest: {found}. The database is as it was.")
    advice = next((advice for sign, advice in _RESTORE_ADVICE.items() if sign in text.lower()), "")
    return RestoreFailed(
        f"The restore of the database {database.alias!r} failed, and it is as it was. {error}. {advice}".rstrip()
    )


def location(database: Database) -> str:
    """Where the database is, without any secret."""
    found = parameters(connection_settings(database))
    host = found.get("host") or (f"service {found['service']}" if "service" in found else "local socket")
    return f"{found.get('dbname', '')} on {host}" + (f":{found['port']}" if "port" in found else "")


_ADVICE = {
    "password authentication failed": "Correct USER and PASSWORD in DATABASES, or in BackupDatabaseConfig.connection.",
    "no password supplied": "Set PASSWORD in DATABASES, or in BackupDatabaseConfig.connection.",
    "starting up": "The server is starting: try again in a moment.",
    "shutting down": "The server is stopping: start it and try again.",
    "certificate": "Check sslmode and the certificates in OPTIONS against what the server offers.",
    "does not exist": "Check NAME and USER in DATABASES.",
    "connection refused": "Nothing listens there: start the server, or correct HOST and PORT in DATABASES.",
    "no such file": "No server listens on that socket: start it, or correct HOST and PORT in DATABASES.",
    "could not translate host": "Correct HOST in DATABASES.",
    "ssl": "Check sslmode and the certificates in OPTIONS against what the server offers.",
    "pg_hba.conf": "The server's pg_hba.conf does not let this user in from here.",
    "timeout": "Check that the server can be reached from here.",
    "too many": "The server has no connection left: raise max_connections or close some.",
}


_DUMP_ADVICE = {
    "lock timeout": "Another transaction, often a migration, holds a lock: let it end and try again, "
    "or raise lock_timeout.",
    "statement timeout": "Another transaction, often a migration, holds a lock: let it end and try again, "
    "or raise lock_timeout.",
    "permission denied for large object": "pg_read_all_data does not cover large objects: let a superuser "
    "ALTER ROLE ... SET lo_compat_privileges = on for this role (docs/postgresql.md).",
    "permission denied": "Grant this role the right to read everything: GRANT pg_read_all_data TO it "
    "(docs/postgresql.md).",
    "row-level security": "Row security hides rows from this role: ALTER ROLE ... BYPASSRLS, or name another role in "
    "BackupDatabaseConfig.connection.",
    "server closed the connection": "The server stopped in the middle of the dump: start it and try again.",
    "terminating connection": "The server ended the connection in the middle of the dump: try again.",
    "killed by signal": "Something ended pg_dump; the kernel does when memory runs out (see dmesg).",
}
_RESTORE_ADVICE = {
    "lock timeout": "Other connections use its tables: stop the site and its workers, then restore again.",
    "must be owner": "Restore with a role that owns everything in it, or a superuser: BackupDatabaseConfig.connection.",
    "permission denied": "Restore with a role that owns the database, or a superuser: BackupDatabaseConfig.connection.",
    "max_locks_per_transaction": "Raise max_locks_per_transaction of the server.",
    "is not available": "Install the package of that extension on the server.",
    "could not open extension": "Install the package of that extension on the server.",
    "does not exist": "Create there first what the backup builds upon and does not hold.",
    "no space left": "The server's disk is full: free some space there.",
    "server closed the connection": "The server stopped: start it and restore again.",
}


def _complete(settings: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {"TIME_ZONE": None, "CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False, "AUTOCOMMIT": True}
    return {**defaults, **settings, "OPTIONS": dict(options)}
