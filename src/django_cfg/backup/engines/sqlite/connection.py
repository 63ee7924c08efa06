"""Connections to a SQLite database: where its file is, how it is opened, how long work on it is interrupted.

A live database file is opened only through SQLite: closing any other descriptor of the file would drop the POSIX locks
that the connections of this process hold (https://sqlite.org/howtocorrupt.html, section 2.2).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs, quote, unquote, urlsplit

from django.db.utils import DatabaseError, load_backend

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.connection_settings import complete_settings
from django_cfg.backup.errors import DatabaseUnavailable, UnsupportedEngine

LOCK_TIMEOUT = 30.0  # seconds to wait for another connection's lock
COMPANIONS = ("-wal", "-shm", "-journal")
_RETRY = 0.02  # seconds; an interruption has no effect on a connection that is between two statements

T = TypeVar("T")
Call = Callable[[], object]


class LockTimeout(sqlite3.OperationalError):
    """Another connection kept its lock for longer than LOCK_TIMEOUT."""

    sqlite_errorname = "SQLITE_BUSY"


def get_database_path(database: Database) -> Path:
    """Return the absolute path of the file that *database* names; the file need not exist.

    :raises UnsupportedEngine: the database lives in memory.
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


def list_existing_files(path: Path) -> list[Path]:
    """Return the existing ones among *path* and the log and journals that SQLite keeps next to it."""
    return [file for file in (path, *(Path(f"{path}{suffix}") for suffix in COMPANIONS)) if file.exists()]


def build_uri(path: Path, **parameters: str) -> str:
    """Return *path* as a URI for SQLite; any character is allowed in it."""
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return f"file:{quote(str(path))}?{query}"


def open_file(path: Path, **parameters: str) -> sqlite3.Connection:
    """Open the file *path* in autocommit mode. Any thread may use and close the connection."""
    return sqlite3.connect(
        build_uri(path, **parameters), uri=True, timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False
    )


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open an existing live database to read it; nothing is created or changed.

    The journal of a crash can be rolled back only with write access. Then the connection has it, as any other user of
    the database would, and refuses statements that write.
    """
    connection = open_file(path, mode="ro")
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise
        connection = open_file(path, mode="rw")
        connection.execute("PRAGMA query_only = ON")
    return connection


@contextmanager
def open_database(database: Database) -> Iterator[sqlite3.Connection]:
    """Open the live database to read it.

    :raises DatabaseUnavailable: the file is missing, not a database, or locked.
    """
    path, alias = get_database_path(database), database.alias
    try:
        is_file = path.is_file()
    except OSError as error:
        raise DatabaseUnavailable(f"The database {alias!r} ({path}) cannot be reached: {error.strerror}.") from error
    if not is_file:
        option = "" if alias == "default" else f" --database {alias}"
        raise DatabaseUnavailable(
            f"The database {alias!r} is missing: there is no file {path}. "
            f"Check NAME in DATABASES, or run `migrate{option}` to create it."
        )
    try:
        with closing(open_read_only(path)) as connection:
            yield connection
    except sqlite3.DatabaseError as error:
        raise explain_unavailable(alias, path, error) from error


@contextmanager
def open_as_project(
    path: Path, database: Database, interrupts: Interrupts, *, immutable: bool = False
) -> Iterator[sqlite3.Connection]:
    """Open the file *path* with the SQL functions that the project's own connections have.

    Constraints, generated columns and indexes may call functions that Django, the backend or a
    ``connection_created`` receiver registers: without them SQLite could not check the file.

    :param interrupts: those of the thread that uses the connection.
    """
    settings = complete_settings(database.settings)
    settings["NAME"] = build_uri(path, immutable="1") if immutable else build_uri(path, mode="rwc")
    options = settings.get("OPTIONS", {})
    settings["OPTIONS"] = {key: options[key] for key in options if key != "init_command"}  # it could change the file
    wrapper = load_backend(settings["ENGINE"]).DatabaseWrapper(settings, database.alias)
    try:
        wrapper.connect()
        wrapper.connection.execute("PRAGMA foreign_keys = OFF")
        with interrupts.registered(wrapper.connection.interrupt):
            yield wrapper.connection
    except DatabaseError as error:
        raise sqlite3.DatabaseError(str(error)) from error
    finally:
        if wrapper.connection is not None:
            wrapper.connection.close()


def explain_unavailable(alias: str, path: Path, error: sqlite3.DatabaseError) -> DatabaseUnavailable:
    """Return what *error* means for the operator."""
    advice = {
        "SQLITE_NOTADB": "The file is not a SQLite database, or its beginning is damaged; restore a backup.",
        "SQLITE_CORRUPT": "The database is damaged; restore a backup.",
        "SQLITE_BUSY": "Another connection holds a lock on it; try again, or find the process with `lsof`. Where "
        "connections use PRAGMA locking_mode = EXCLUSIVE, it may be one of this process.",
        "SQLITE_FULL": "The disk with the temporary copy is full: free some space, or set TMPDIR to another folder.",
        "SQLITE_CANTOPEN": "Check the permissions of the file and of its folder.",
        "SQLITE_READONLY": "A database with a write-ahead log is read through files next to it (-wal, -shm): run this "
        "as a user that may write into its folder.",
    }.get("_".join(getattr(error, "sqlite_errorname", "").split("_")[:2]), "")  # without what follows SQLITE_READONLY
    return DatabaseUnavailable(f"The database {alias!r} ({path}) cannot be read: {error}. {advice}".strip())


def raise_if_locked(status: int, remaining: int, total: int) -> None:
    """Report the progress of ``Connection.backup``, which would retry for ever; each attempt has waited already.

    :raises LockTimeout: another connection holds a lock.
    """
    if status & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise LockTimeout("it is locked by another connection")


class Interrupts:
    """The calls that end what a thread is doing."""

    def __init__(self) -> None:
        self._calls: list[Call] = []

    @contextmanager
    def registered(self, call: Call) -> Iterator[None]:
        """Register *call*, which ends what the block does."""
        self._calls.append(call)
        try:
            yield
        finally:
            self._calls.remove(call)

    def send(self) -> None:
        for call in list(self._calls):
            with suppress(sqlite3.ProgrammingError):  # the connection has just been closed
                call()


Work = Callable[[Interrupts], T]


@contextmanager
def run_in_thread(work: Work[T]) -> Iterator[Future[T]]:
    """Run *work* in parallel with the block; an exception that leaves the block ends the work.

    SQLite in the thread that receives signals would delay Ctrl-C and SIGTERM until its statement has ended.
    """
    interrupts = Interrupts()
    with ThreadPoolExecutor(1) as thread:
        result = thread.submit(work, interrupts)
        try:
            yield result
        except BaseException:
            while not result.done():
                interrupts.send()
                wait_for([result], timeout=_RETRY)
            raise


def run_interruptibly(work: Work[T]) -> T:
    """Return what *work* returns, or raise what it raises."""
    with run_in_thread(work) as result:
        return result.result()
