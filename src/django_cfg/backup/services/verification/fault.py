"""Whether a restore failed for what it met - no permission, no space, no extension - and not for what it restores.

Only the server's own verdict is looked at: its number, or how its message begins. The rest of what a program says
quotes rows, and rows may hold any words.
"""

from __future__ import annotations

import re

from django_cfg.backup.errors import BackupError, ToolFailed

# PostgreSQL, https://www.postgresql.org/docs/current/errcodes-appendix.html
_STATES = ("08", "42501", "53", "55P03", "57", "58")
# What its messages of those begin with; programs do not print their number.
_BEGINNINGS = re.compile(
    r"permission denied|must be (owner|superuser|able to set role|a? ?member)|only roles with"
    r"|could not (open extension control file|load library|access file|extend file|write|create (file|directory))"
    r"|could not connect to server|(tablespace|access method) \".*\" does not exist"
    r"|invalid value for parameter \"default_(tablespace|table_access_method)\""
    r"|extension \S+ is not available|unrecognized configuration parameter|out of (shared )?memory"
    r"|canceling statement due to|terminating connection|the database system is"
    r"|deadlock detected|a worker process died"
    r"|sorry, too many clients|remaining connection slots|cannot execute .* in a read-only",
    re.IGNORECASE,
)
# MySQL and MariaDB, https://mariadb.com/kb/en/mariadb-error-codes/
_NUMBERS = frozenset(
    (
        *(1044, 1045, 1142, 1143, 1227, 1370, 1419, 1698),  # not allowed
        *(3, 1021, 1030, 1037, 1038, 1041, 1114, 1206),  # no space, no memory
        *(1115, 1193, 1273, 1286, 1290, 1296, 1524, 1836),  # not known to this server, or read-only
        *(1153, 2020),  # max_allowed_packet
        *(1205, 1317, 1969, 3024),  # a lock, a limit of time
        *(1053, 1077, 1927, 2002, 2003, 2006, 2013),  # the server went away
    )
)
_SQLITE = ("SQLITE_FULL", "SQLITE_NOMEM", "SQLITE_PERM", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_BUSY")
_POSTGRESQL = re.compile(r"^(?:pg_restore|psql)\b.*?(?:ERROR|FATAL):\s+(?P<message>.*)$", re.MULTILINE)
_ENGLISH = "ERROR|FATAL|PANIC|WARNING|NOTICE|INFO|LOG|DEBUG"
# A server that speaks another language: what it says is not understood, so nothing is said of the backup.
_NOT_IN_ENGLISH = re.compile(rf"^(?:pg_restore|psql)\b[^\n]*?: (?!{_ENGLISH})[^\W\d_]+:  ", re.MULTILINE)
_OF_THE_PROGRAM = re.compile(r"^(?:pg_restore|psql): error: (?P<message>.*)$", re.MULTILINE)
_MYSQL = re.compile(r"^ERROR (?P<number>\d+) ", re.MULTILINE)


def is_environment_fault(error: BackupError) -> bool:
    """Return True if *error* is the environment's fault and says nothing about the backup."""
    cause = error.__cause__
    if isinstance(cause, ToolFailed):
        return cause.tool_exit_code < 0 or _is_said_by_a_program(cause.last_words)
    if cause is None:
        return False
    state = str(getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or "")
    number = cause.args[0] if cause.args and isinstance(cause.args[0], int) else None
    return (
        isinstance(cause, OSError)
        or state.startswith(_STATES)
        or number in _NUMBERS
        or getattr(cause, "sqlite_errorname", "") in _SQLITE
    )


def _is_said_by_a_program(words: str) -> bool:
    """By its first verdict: what follows it quotes the statement or the row."""
    if found := _MYSQL.search(words):
        return int(found["number"]) in _NUMBERS
    found = _POSTGRESQL.search(words)
    if not found and _NOT_IN_ENGLISH.search(words):
        return True
    found = found or _OF_THE_PROGRAM.search(words)
    return found is not None and _BEGINNINGS.match(found["message"]) is not None
