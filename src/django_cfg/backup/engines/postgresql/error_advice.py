"""What an error of the server or of its programs means, and what the operator can do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from shlex import quote

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.postgresql.archive_entry import ArchiveEntry
from django_cfg.backup.engines.postgresql.error_text import describe_error
from django_cfg.backup.engines.postgresql.libpq import describe_location, get_database_name
from django_cfg.backup.engines.postgresql.restored_data import MISMATCH
from django_cfg.backup.errors import (
    BackupError,
    DatabaseUnavailable,
    DumpFailed,
    RestoreFailed,
    ToolFailed,
    VerificationFailed,
)

# Part of a message in lower case, and the advice for it. The first one found is given.
_CONNECTION = {
    "password authentication failed": "Correct USER and PASSWORD in DATABASES, or in BackupDatabaseConfig.connection.",
    "no password supplied": "Set PASSWORD in DATABASES, or in BackupDatabaseConfig.connection.",
    "starting up": "The server is starting: try again in a moment.",
    "shutting down": "The server is stopping: start it and try again.",
    "certificate": "Check sslmode and the certificates in OPTIONS against what the server offers.",
    "does not exist": "Check NAME and USER in DATABASES.",
    "connection refused": "No server listens there: start it, or correct HOST and PORT in DATABASES.",
    "no such file": "No server listens on that socket: start it, or correct HOST and PORT in DATABASES.",
    "could not translate host": "Correct HOST in DATABASES.",
    "ssl": "Check sslmode and the certificates in OPTIONS against what the server offers.",
    "pg_hba.conf": "The server's pg_hba.conf does not allow this user to connect from here.",
    "timeout": "Check that the server can be reached from here.",
    "too many": "The server has no connection left: raise max_connections or close some.",
}
_MISSING_DATABASE = re.compile(r'database ".*" does not exist', re.DOTALL)
# No fault of the object that was being restored.
_UNRELATED = ("lock timeout", "max_locks_per_transaction", "no space left", "server closed", "terminating connection")
# What pg_restore does not find with its empty search_path, though it is in the backup.
_NOT_FOUND = re.compile(
    r"ERROR:  (function|operator|type|relation|collation|text search \w+|aggregate|table)( .*?)? does not exist"
)
_SEARCH_PATH = (
    "PostgreSQL restores with an empty search_path: a function, trigger or expression that names an object without "
    "its schema does not find it. If the object is in the backup, correct the database (ALTER FUNCTION ... SET "
    "search_path, or name the schema) and make a new backup. If it is not, create it there first."
)
MEMORY = "Something ended it; the kernel does when memory runs out (see dmesg)."
_LOCKED = "Another transaction, often a migration, holds a lock: let it end and try again, or raise lock_timeout."
_DUMP = {
    "lock timeout": _LOCKED,
    "statement timeout": _LOCKED,
    "permission denied for large object": "pg_read_all_data does not cover large objects: let a superuser "
    "ALTER ROLE ... SET lo_compat_privileges = on for this role (docs/postgresql.md).",
    "permission denied": "Grant this role the right to read everything: GRANT pg_read_all_data TO it "
    "(docs/postgresql.md).",
    "row-level security": "Row security hides rows from this role: ALTER ROLE ... BYPASSRLS, or name another role in "
    "BackupDatabaseConfig.connection.",
    "server closed the connection": "The server stopped in the middle of the dump: start it and try again.",
    "terminating connection": "The server ended the connection in the middle of the dump: try again.",
    "killed by signal": MEMORY,
}
_RESTORE = {
    "lock timeout": "Other connections use its tables: stop the site and its workers, then restore again.",
    "must be owner": "Restore with a role that owns everything in it, or a superuser: BackupDatabaseConfig.connection.",
    "permission denied": "Restore with a role that owns the database, or a superuser: BackupDatabaseConfig.connection.",
    "max_locks_per_transaction": "Raise max_locks_per_transaction of the server.",
    "is not available": "Install the package of that extension on the server.",
    "could not open extension": "Install the package of that extension on the server.",
    "tablespace": "Create the tablespace on the server, or grant this role CREATE on it.",
    "violates check constraint": "A CHECK may look at its own row alone: one that reads other tables may be restored "
    "before they are.",
    "could not connect to server": "A foreign server does not answer: start it, or restore without its rows.",
    "does not exist": "First create there what the backup needs and does not hold.",
    "no space left": "The server's disk is full: free some space there.",
    "server closed the connection": "The server stopped: start it and restore again.",
    "too many clients": "The server has no connection left: close some, or restore with --jobs 1.",
    "remaining connection slots": "The server has no connection left: close some, or restore with --jobs 1.",
    "deadlock detected": "Two sessions of the restore waited for each other: restore with --jobs 1.",
    "worker process died": MEMORY,
    "killed by signal": MEMORY,
}


def explain_unavailable(database: Database, error: Exception) -> DatabaseUnavailable:
    """Return what it means that the server refused a connection or a query."""
    text = describe_error(error).rstrip(".")
    advice = _find_advice(_CONNECTION, text, "Check that the server runs.")
    if _MISSING_DATABASE.search(text):
        name = get_database_name(database)
        advice = f"Check NAME in DATABASES. If it is right and the database is lost, create it: createdb {quote(name)}"
    return DatabaseUnavailable(
        f"The database {database.alias!r} ({describe_location(database)}) does not answer: {text}. {advice}"
    )


@contextmanager
def explain_dump_errors(alias: str) -> Iterator[None]:
    """Explain why pg_dump failed, or the checks and the count in parallel with it.

    :raises DumpFailed: for any error that this package has not explained yet.
    """
    try:
        yield
    except ToolFailed as error:
        raise _dump_failed(alias, str(error)) from error
    except BackupError:
        raise
    except Exception as error:  # psycopg 2 and 3 share no class but Exception
        raise _dump_failed(alias, describe_error(error)) from error


@contextmanager
def explain_restore_errors(database: Database) -> Iterator[None]:
    """Explain why the server refused a step of a restore that has not changed *database* yet.

    :raises RestoreFailed: for any error that this package has not explained yet.
    """
    try:
        yield
    except BackupError:
        raise
    except Exception as error:  # psycopg 2 and 3 share no class but Exception
        raise _restore_failed(database, describe_error(error)) from error


def explain_tool_failure(database: Database, error: ToolFailed, entry: ArchiveEntry | None = None) -> BackupError:
    """Return what it means that a restore failed in psql or pg_restore, whose transaction has been rolled back.

    :param entry: the one of the archive that the error is about; None: not known.
    """
    text = error.last_words
    if MISMATCH in text:
        differences = text.rpartition(MISMATCH)[2].strip().splitlines()[0]
        return VerificationFailed(
            f"The restored data differs from its manifest: {differences}. The database is as it was."
        )
    return _restore_failed(database, str(error), text, entry)


def _dump_failed(alias: str, text: str) -> DumpFailed:
    advice = _find_advice(_DUMP, text, "Nothing was published.")
    return DumpFailed(f"The dump of the database {alias!r} failed. {text}. {advice}")


def _restore_failed(database: Database, text: str, cause: str = "", entry: ArchiveEntry | None = None) -> RestoreFailed:
    cause = cause or text
    advice = _SEARCH_PATH if _NOT_FOUND.search(cause) else _find_advice(_RESTORE, cause)
    place = f" at the entry {entry}" if entry else ""
    return RestoreFailed(
        f"The restore of the database {database.alias!r} failed{place}, and it is as it was. {text}. {advice} "
        f"{'' if any(part in cause.lower() for part in _UNRELATED) else _advise_to_skip(entry)}".rstrip()
    )


def _advise_to_skip(entry: ArchiveEntry | None) -> str:
    if not entry:
        return ""
    if not entry.may_be_left_out:
        return "It cannot be left out; docs/restore-by-hand.md says how to restore around it."
    others = ", or all that fails of its kind: --skip-failing" if entry.may_fail else ""
    return f"To restore without it: --skip {quote(str(entry))}{others}."


def _find_advice(table: Mapping[str, str], text: str, default: str = "") -> str:
    return next((advice for part, advice in table.items() if part in text.lower()), default)
