"""What an error of the server or of its programs means, and what the operator can do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from django_cfg.backup.engines.mysql.error_text import get_error_text, remove_row_data_of
from django_cfg.backup.errors import BackupError, DatabaseUnavailable, DumpFailed, RestoreFailed, ToolFailed

# A pattern of the message, and the advice for it; the first pattern that is found decides.
_NO_SERVER = "No server listens there: start the server, or correct HOST and PORT in DATABASES."
_CONNECTION = {
    "access denied for user": "Correct USER and PASSWORD in DATABASES, or in BackupDatabaseConfig.connection; or GRANT "
    "the user what docs/mysql.md lists.",
    "unknown database": "Check NAME in DATABASES; a database that is lost is created by backup_restore.",
    "secure transport": "The server requires TLS: set the ssl parameters in OPTIONS.",
    "ssl|tls|certificate": "Check the ssl parameters in OPTIONS against what the server offers.",
    "too many connections": "The server has no connection left: raise max_connections or close some.",
    "is blocked": "Too many failed connections from here: run mariadb-admin flush-hosts on the server.",
    "is not allowed to connect": "The server does not allow this user to connect from here: see CREATE USER "
    "'name'@'host'.",
    "no such file": "No server listens on that socket: start it, or correct HOST in DATABASES.",
    "name or service not known|unknown mysql server host": "Correct HOST in DATABASES.",
    "refused": _NO_SERVER,
    "timed out": "Check that the server can be reached from here.",
    "can't connect": _NO_SERVER,
    "shutdown in progress": "The server is stopping: start it and try again.",
}
_PACKET = (
    "A row is larger as SQL, where bytes take twice their room, than max_allowed_packet of the server: let an "
    "administrator raise it (SET GLOBAL max_allowed_packet, at most 1073741824)."
)
_DUMP = {
    "lock (wait )?timeout": "Another transaction, often a migration, holds a lock: let it end and try again, or raise "
    "lock_timeout.",
    "table definition has changed": "A migration changed a table while it was dumped: try again when it has ended.",
    "insuff?ici?ent privileges": "The text of stored procedures and functions is hidden from this user: GRANT it what "
    "docs/mysql.md lists.",
    "references invalid table": "A view refers to something that does not exist, or that its DEFINER may not use: DROP "
    "it or fix it, then try again.",
    r"specified as a definer .* does not exist": "CREATE that user, or let the view or routine belong to another one "
    "(ALTER DEFINER = ... VIEW ...), or DROP it; then try again.",
    "(access|command) denied": "GRANT this user what docs/mysql.md lists.",
    "max_allowed_packet": _PACKET,
    "lost connection": "The server stopped, or ended the connection in the middle of the dump (its log says why; where "
    "the storage is slower than net_write_timeout, raise that): try again.",
    "gone away": "The server stopped, or ended the connection in the middle of the dump: start it and try again.",
    "killed by signal": "Something ended it; the kernel does when memory runs out (see dmesg).",
}
_RESTORE = {
    "lock wait timeout|deadlock": "Other connections use its tables: stop the site and its workers, then restore "
    "again.",
    "doesn't have a default value": "The backup does not have this column: ALTER TABLE ... ALTER COLUMN ... SET "
    "DEFAULT, or restore the complete backup into another database (--to) and copy the rows from there.",
    "(access|command) denied": "GRANT the user what docs/mysql.md lists for a restore, or name another one in "
    "BackupDatabaseConfig.connection.",
    "insufficient privileges": "The text of existing stored procedures and functions is hidden from this user, so they "
    "could not be kept: GRANT it what docs/mysql.md lists for a restore.",
    "log_bin_trust_function_creators": "Ask an administrator to SET GLOBAL log_bin_trust_function_creators = 1.",
    "unknown collation": "The backup comes from a newer server, whose collations this one does not know: upgrade it.",
    "unknown storage engine": "Install the storage engine on the server.",
    "federated table|foreign data src": "The server to which a FEDERATED table refers has to answer when the table is "
    "created: start it, or make the other table there.",
    "is full": "The server's disk is full: free some space there.",
    "temporary file": "The server sorts the indexes of a table in temporary files, and has no room for them: free some "
    "in its tmpdir, or let an administrator name a folder with more room (SET GLOBAL innodb_tmpdir).",
    "max_allowed_packet": _PACKET,
    "lost connection|gone away": "The server stopped: start it and restore again.",
}


def explain_unavailable(alias: str, location: str, error: Exception) -> DatabaseUnavailable:
    """Return what it means that a server refused a connection, or ended it."""
    text = get_error_text(error)
    return DatabaseUnavailable(
        f"The database {alias!r} ({location}) does not answer: {text}. "
        f"{_find_advice(_CONNECTION, text) or 'Check that the server runs.'}"
    )


def explain_dump_errors(alias: str) -> AbstractContextManager[None]:
    """Explain why a dump failed, or the checks before it and the count in parallel with it.

    :raises DumpFailed: for any error that this package has not explained yet.
    """
    return _explain_errors(lambda text: dump_failed(alias, text))


def explain_restore_errors(alias: str, state: str = "") -> AbstractContextManager[None]:
    """Explain why the server refused a step of a restore.

    :param state: a sentence on what the database holds now; empty where the services add it.
    :raises RestoreFailed: for any error that this package has not explained yet.
    """
    return _explain_errors(lambda text: _restore_failed(alias, state, text))


@contextmanager
def _explain_errors(explain: Callable[[str], BackupError]) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # drivers share no class but Exception
        if isinstance(error, BackupError) and not isinstance(error, ToolFailed):
            raise
        remove_row_data_of(error)
        raise explain(get_error_text(error)) from error


def dump_failed(alias: str, text: str) -> DumpFailed:
    advice = _find_advice(_DUMP, text) or "Nothing was published."
    return DumpFailed(f"The dump of the database {alias!r} failed. {text}. {advice}")


def _restore_failed(alias: str, state: str, text: str) -> RestoreFailed:
    sentences = (f"The restore of the database {alias!r} failed. {text}.", state, _find_advice(_RESTORE, text))
    return RestoreFailed(" ".join(filter(None, sentences)))


def _find_advice(advice: Mapping[str, str], text: str) -> str:
    return next((sentence for pattern, sentence in advice.items() if re.search(pattern, text, re.IGNORECASE)), "")
