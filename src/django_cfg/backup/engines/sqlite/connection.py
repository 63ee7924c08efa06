"""Where a SQLite database lives, and how its files are opened.

A live database file is only ever opened through SQLite: closing any other descriptor of it would
drop the POSIX locks that connections of this process hold (https://sqlite.org/howtocorrupt.html, 2.2).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from django.db.utils import DatabaseError, load_backend

from django_cfg.backup.engines.base import Database
from django_cfg.backup.errors import DatabaseUnavailable, UnsupportedEngine

LOCK_TIMEOUT = 30.0  # seconds to wait for another connection's lock
COMPANIONS = ("-wal", "-shm", "-journal")


def database_path(database: Database) -> Path:
    """The file that *database* names, absolute; it need not exist.

    :raises UnsupportedEngine: it lives in memory.
    """
    name = str(database.settings.get("NAME") or "")
    query = {}
    if name.startswith("file:"):
        parts = urlsplit(name)
        name, query = unquote(parts.path), parse_qs(parts.query)
    if name in ("", ":memory:") or "memory" in query.get("mode", ()):
        raise UnsupportedEngine(
            f"The database {database.alias!r} lives in memory, so there is nothing to back up or restore: "
            "give it a file, or leave it out with BackupDatabaseConfig(enabled=False)."
        )
    return Path(name).absolute()


def uri(path: Path, **parameters: str) -> str:
    """The URI of *path* for SQLite, any character allowed in it."""
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return f"file:{quote(str(path))}?{query}"


def open_live(path: Path) -> sqlite3.Connection:
    """A connection to an existing database that creates nothing and changes nothing.

    Read-only first. A journal left by a crash can only be rolled back with write access: then a
    writing connection is used, as any other user of the database would, and closed to statements that write.
    """
    connection = _connect(path, "ro")
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise
        connection = _connect(path, "rw")
        connection.execute("PRAGMA query_only = ON")
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    """For any thread: the one that sees the end of a copy gives the lock back."""
    return sqlite3.connect(
        uri(path, mode=mode), uri=True, timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False
    )


@contextmanager
def open_private(path: Path, database: Database, *, immutable: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection to a copy of ours, with the SQL functions the project's own connections have.

    Constraints, generated columns and indexes may call functions that Django, the backend or a
    ``connection_created`` receiver registers: without them SQLite could not check the copy.
    """
    options = {"immutable": "1"} if immutable else {"mode": "rwc"}
    settings = _settings_for(database.settings, uri(path, **options))
    wrapper = load_backend(settings["ENGINE"]).DatabaseWrapper(settings, database.alias)
    try:
        wrapper.connect()
        connection = wrapper.connection
        connection.execute("PRAGMA foreign_keys = OFF")
        yield connection
    except DatabaseError as error:
        raise sqlite3.DatabaseError(str(error)) from error
    finally:
        if wrapper.connection is not None:
            wrapper.connection.close()


@contextmanager
def live(database: Database) -> Iterator[sqlite3.Connection]:
    """The live database, opened for reading.

    :raises DatabaseUnavailable: missing, not a database, or locked.
    """
    path = database_path(database)
    if not _is_file(path, database.alias):
        raise DatabaseUnavailable(
            f"The database {database.alias!r} is missing: there is no file {path}. "
            "Check NAME in DATABASES, or run migrate to create it."
        )
    try:
        with closing(open_live(path)) as connection:
            yield connection
    except sqlite3.DatabaseError as error:
        raise unavailable(database.alias, path, error) from error


def _is_file(path: Path, alias: str) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise DatabaseUnavailable(f"The database {alias!r} ({path}) cannot be reached: {error.strerror}.") from error


def unavailable(alias: str, path: Path, error: sqlite3.DatabaseError) -> DatabaseUnavailable:
    """What *error* of SQLite means for the reader."""
    advice = {
        "SQLITE_NOTADB": "The file is not a SQLite database, or its beginning is damaged; restore a backup.",
        "SQLITE_CORRUPT": "The database is damaged; restore a backup.",
        "SQLITE_BUSY": "Another process holds a lock on it; try again, or find the process with `lsof`.",
        "SQLITE_FULL": "The disk with the temporary copy is full: free some, or set TMPDIR to another place.",
        "SQLITE_CANTOPEN": "Check the permissions of the file and of its folder.",
    }.get(getattr(error, "sqlite_errorname", ""), "")
    return DatabaseUnavailable(f"The database {alias!r} ({path}) cannot be read: {error}. {advice}".strip())


def _settings_for(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The project's settings pointed at *name*, without what would change the copy."""
    options = {key: value for key, value in settings.get("OPTIONS", {}).items() if key != "init_command"}
    defaults = {"TIME_ZONE": None, "CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False, "AUTOCOMMIT": True}
    return {**defaults, **settings, "NAME": name, "OPTIONS": options}
