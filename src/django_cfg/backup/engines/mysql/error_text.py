"""What the server's and the programs' refusals mean for the reader, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from django_cfg.backup.engines.base import Database
from django_cfg.backup.errors import BackupError, DatabaseUnavailable, DumpFailed, RestoreFailed, ToolFailed

_LOCKED = "Another transaction, often a migration, holds a lock: let it end and try again, or raise lock_timeout."
_TLS = "Check the ssl parameters in OPTIONS against what the server offers."
_NOT_THERE = "Nothing listens there: start the server, or correct HOST and PORT in DATABASES."
_ADVICE = {
    "access denied for user": "Correct USER and PASSWORD in DATABASES, or in BackupDatabaseConfig.connection; or GRANT "
    "the user what docs/mysql.md lists.",
    "unknown database": "Check NAME in DATABASES.",
    "secure transport": "The server wants TLS: set the ssl parameters in OPTIONS.",
    "insecure transport": "The server wants TLS: set the ssl parameters in OPTIONS.",
    "ssl": _TLS,
    "tls": _TLS,
    "certificate": _TLS,
    "too many connections": "The server has no connection left: raise max_connections or close some.",
    "is blocked": "Too many failed connections from here: run mariadb-admin flush-hosts on the server.",
    "is not allowed to connect": "The server does not let this user in from here: see CREATE USER 'name'@'host'.",
    "no such file": "No server listens on that socket: start it, or correct HOST in DATABASES.",
    "name or service not known": "Correct HOST in DATABASES.",
    "unknown mysql server host": "Correct HOST in DATABASES.",
    "refused": _NOT_THERE,
    "timed out": "Check that the server can be reached from here.",
    "can't connect": _NOT_THERE,
    "shutdown in progress": "The server is stopping: start it and try again.",
}
_DUMP_ADVICE = {
    "lock wait timeout": _LOCKED,
    "lock timeout": _LOCKED,
    "table definition has changed": "A migration changed a table while it was dumped: try again when it has ended.",
    "insufficient privileges": "The text of stored procedures and functions is hidden from this user: GRANT it what "
    "docs/mysql.md lists.",
    "insufficent privileges": "The text of stored procedures and functions is hidden from this user: GRANT it what "
    "docs/mysql.md lists.",
    "references invalid table": "A view refers to something that does not exist: DROP it or mend it, then try again.",
    "access denied": "GRANT this user what docs/mysql.md lists.",
    "command denied": "GRANT this user what docs/mysql.md lists.",
    "max_allowed_packet": "A row is larger than max_allowed_packet of the server: raise it there.",
    "lost connection": "The server stopped or ended the connection in the middle of the dump (its log tells why; where "
    "the storage is slower than net_write_timeout, raise that): try again.",
    "gone away": "The server stopped or ended the connection in the middle of the dump: start it and try again.",
    "killed by signal": "Something ended it; the kernel does when memory runs out (see dmesg).",
}
_RESTORE_ADVICE = {
    "lock wait timeout": "Other connections use its tables: stop the site and its workers, then restore again.",
    "doesn't have a default value": "The backup does not know this column: ALTER TABLE ... ALTER COLUMN ... SET "
    "DEFAULT, or restore the whole backup into another database (--to) and copy the rows from there.",
    "deadlock": "Other connections use its tables: stop the site and its workers, then restore again.",
    "access denied": "GRANT the user what docs/mysql.md lists for a restore, or name another one in "
    "BackupDatabaseConfig.connection.",
    "command denied": "GRANT the user what docs/mysql.md lists for a restore, or name another one in "
    "BackupDatabaseConfig.connection.",
    "insufficient privileges": "The text of stored procedures and functions that are there is hidden from this user, "
    "so they could not be set aside: GRANT it what docs/mysql.md lists for a restore.",
    "log_bin_trust_function_creators": "Let an administrator SET GLOBAL log_bin_trust_function_creators = 1.",
    "unknown collation": "The backup comes from a newer server, whose collations this one does not know: upgrade it.",
    "unknown storage engine": "Install the storage engine on the server.",
    "is full": "The server's disk is full: free some space there.",
    "max_allowed_packet": "A row is larger than max_allowed_packet of the server: raise it there.",
    "lost connection": "The server stopped: start it and restore again.",
    "gone away": "The server stopped: start it and restore again.",
}


def unavailable(database: Database, place: str, error: Exception) -> DatabaseUnavailable:
    """A server that does not let us in, or does not answer any more."""
    text = said(error)
    return DatabaseUnavailable(
        f"The database {database.alias!r} ({place}) does not answer: {text}. "
        f"{_fitting(_ADVICE, text) or 'Check that the server runs.'}"
    )


@contextmanager
def explaining(alias: str) -> Iterator[None]:
    """Say what it means that the dump, or the looking and counting beside it, gave up.

    :raises DumpFailed: for any error that is not one of ours already.
    """
    try:
        yield
    except ToolFailed as error:
        raise dump_failed(alias, str(error)) from error
    except BackupError:
        raise
    except Exception as error:  # drivers share no class but Exception
        raise dump_failed(alias, said(error)) from error


def dump_failed(alias: str, text: str) -> DumpFailed:
    advice = _fitting(_DUMP_ADVICE, text) or "Nothing was published."
    return DumpFailed(f"The dump of the database {alias!r} failed. {text.rstrip('.')}. {advice}")


@contextmanager
def refusing(alias: str, state: str) -> Iterator[None]:
    """Say what it means that the server did not take a restore, and how the database is now.

    :param state: a sentence; empty where others tell it.
    :raises RestoreFailed: for any error that is not one of ours already.
    """
    try:
        yield
    except ToolFailed as error:
        raise _restore_failed(alias, state, str(error)) from error
    except BackupError:
        raise
    except Exception as error:
        raise _restore_failed(alias, state, said(error)) from error


def _restore_failed(alias: str, state: str, text: str) -> RestoreFailed:
    told = f"The restore of the database {alias!r} failed. {text.rstrip('.')}."
    return RestoreFailed(" ".join(filter(None, (told, state, _fitting(_RESTORE_ADVICE, text)))))


def said(error: Exception) -> str:
    """The server's own words: drivers put them behind their number."""
    words = error.args[1] if len(error.args) > 1 else error
    return str(words).strip().rstrip(".")


def number(error: Exception) -> int:
    """The server's number of an error; 0 where it has none."""
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def _fitting(advice: Mapping[str, str], text: str) -> str:
    return next((words for sign, words in advice.items() if sign in text.lower()), "")
