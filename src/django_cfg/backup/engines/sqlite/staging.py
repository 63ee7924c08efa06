"""The restore: into a scratch file, checked there, then copied into the live file by SQLite itself.

The copy is one transaction of the live database: killed at any moment, its journal brings back the
old state, and connections that stay open see the new data. Replacing the file instead would leave
them writing to the old one (https://sqlite.org/howtocorrupt.html, 1.4 and 2.4); that is done only
where SQLite itself can no longer read the old file.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from django_cfg.backup.engines.base import Database, Restoration, SwitchResult
from django_cfg.backup.engines.sqlite import schema
from django_cfg.backup.engines.sqlite.connection import COMPANIONS, LOCK_TIMEOUT, database_path, open_private, uri
from django_cfg.backup.engines.sqlite.copy import Locked, refuse_to_wait
from django_cfg.backup.engines.sqlite.dump import quick_check
from django_cfg.backup.engines.sqlite.interruptible import Stop, carry_out
from django_cfg.backup.engines.sqlite.rollback_copy import Held, sync, take_owner_and_mode
from django_cfg.backup.engines.sqlite.workspace import entering
from django_cfg.backup.engines.table_comparison import compare_tables
from django_cfg.backup.errors import BackupError, NotEnoughSpace, RestoreFailed, RestoreRefused, VerificationFailed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.stream import Readable, pump
from django_cfg.backup.process.private_dir import create_private

# Live pages copied at a time, and live pages the connection may hold before it writes them to the file:
# after the first step, while the old data is set aside, the file has to be as it was. The step with
# the last page commits, so the first one may never hold them all.
_STEP = 64
_CACHE = 4 * _STEP

_UNREADABLE = ("SQLITE_NOTADB", "SQLITE_CORRUPT")


@contextmanager
def preparing(database: Database, manifest: Manifest, *, keep_old: bool) -> Iterator[tuple[Path, Path]]:
    """The file to restore, and a workshop folder beside it that no second restore may enter."""
    target = database_path(database).resolve()  # the file itself, not a link to it
    require_room(database, target, manifest, keep_old=keep_old)
    with entering(target, database.alias) as workshop:
        yield target, workshop


class SQLiteRestoration(Restoration):
    def __init__(self, database: Database, target: Path, workshop: Path, *, keep_old: bool) -> None:
        self._database = database
        self._target = target
        self._held = Held(target, workshop)
        self._scratch = workshop / "scratch.sqlite3"
        self._keep_old = keep_old

    @property
    def staging_settings(self) -> Mapping[str, Any]:
        return {**self._database.settings, "NAME": uri(self._scratch, immutable="1")}

    @property
    def tool(self) -> tuple[str, str]:
        return "sqlite3", sqlite3.sqlite_version

    def load(self, plain: Readable) -> None:
        try:
            with create_private(self._scratch) as file:
                pump(plain, file)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RestoreFailed(
                f"The scratch file {self._scratch} could not be written: {error.strerror}. "
                f"The database {self._database.alias!r} was not touched."
            ) from error

    def check(self, manifest: Manifest) -> None:
        try:
            carry_out(lambda stop: self._check(manifest, stop))
        except sqlite3.DatabaseError as error:
            raise VerificationFailed(f"{manifest.name} holds no readable SQLite database: {error}.") from error

    def _check(self, manifest: Manifest, stop: Stop) -> None:
        with self._open_scratch(stop) as connection:
            if findings := quick_check(connection):
                raise VerificationFailed(f"{manifest.name} holds a damaged SQLite database: {findings}.")
            compare_tables(manifest.tables, schema.count_rows(connection), manifest.name)

    def fetch_value(self, query: str) -> object:
        try:
            row = carry_out(lambda stop: self._first_row(query, stop))
        except sqlite3.DatabaseError as error:
            raise VerificationFailed(
                f"The verification query {query!r} fails on the restored data: {error}. "
                f"The database {self._database.alias!r} was not touched."
            ) from error
        return row[0] if row else None

    def _first_row(self, query: str, stop: Stop) -> tuple[object, ...] | None:
        with self._open_scratch(stop) as connection:
            row: tuple[object, ...] | None = connection.execute(query).fetchone()
            return row

    @contextmanager
    def _open_scratch(self, stop: Stop) -> Iterator[sqlite3.Connection]:
        with (
            open_private(self._scratch, self._database, immutable=True) as connection,
            stop.by(connection.interrupt),
        ):
            yield connection

    def switch(self) -> SwitchResult:
        if not self._target.exists():
            self._put_in_its_place()
            return SwitchResult(None, self._let_out().advice)
        try:
            self._copy_into_live()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorname not in _UNREADABLE:
                raise self._failed(error) from error
            self._put_in_its_place()
            return self._let_out(
                "SQLite could not read the old file, so it was replaced as a whole: "
                "restart the processes that had it open.",
            )
        return self._let_out()

    def _put_in_its_place(self) -> None:
        """The scratch instead of a file that SQLite cannot read, or of none."""
        take_owner_and_mode(self._scratch, like=self._target if self._target.exists() else None)
        self._held.link()
        self._scratch.replace(self._target)
        sync(self._target.parent)

    def _let_out(self, advice: str = "") -> SwitchResult:
        """The switch has happened: nothing that fails now may say otherwise."""
        if not self._keep_old:
            with suppress(OSError):  # the workshop is removed in any case
                self._held.drop()
            return SwitchResult(None, advice)
        try:
            return (
                SwitchResult(str(self._held.let_out()), advice) if self._held.is_there else SwitchResult(None, advice)
            )
        except OSError as error:
            told = (
                f"The old data could not be moved out of the workshop ({error.strerror}): move {self._held.path} away."
            )
            return SwitchResult(str(self._held.path), f"{advice} {told}".strip())

    def _copy_into_live(self) -> None:
        """One transaction of the live database. Its first step takes the write lock, under which the
        old data is set aside: what nobody can change any more is what gets saved."""

        def after_step(status: int, remaining: int, total: int) -> None:
            refuse_to_wait(status, remaining, total)
            if self._keep_old and not self._held.is_there:
                self._held.copy(through_sqlite=wal)

        with closing(_open(self._target, "rw")) as live:
            wal = _pragma(live, "journal_mode") == "wal"
            if wal:
                self._fit_page_size(int(_pragma(live, "page_size")))
            live.execute(f"PRAGMA cache_size = {_CACHE}")
            with closing(_open(self._scratch, "ro")) as scratch:
                scratch.backup(live, pages=_step(scratch, live), progress=after_step)

    def _fit_page_size(self, page_size: int) -> None:
        """Give the scratch the live page size, which cannot change under a write-ahead log."""
        with closing(_open(self._scratch, "rw")) as scratch:
            if int(_pragma(scratch, "page_size")) != page_size:
                scratch.execute("PRAGMA journal_mode = DELETE")
                scratch.execute(f"PRAGMA page_size = {page_size}")
                scratch.execute("VACUUM")

    def _failed(self, error: sqlite3.DatabaseError) -> BackupError:
        if isinstance(error, Locked) or getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY"):
            return RestoreFailed(
                f"Another connection keeps the database {self._database.alias!r} locked, so nothing was changed. "
                f"Find it with `lsof {self._target}`, stop it, and restore again."
            )
        return RestoreFailed(
            f"SQLite could not write into {self._target}: {error}. The database {self._database.alias!r} is as it was."
        )


def _step(scratch: sqlite3.Connection, live: sqlite3.Connection) -> int:
    """How many pages of *scratch* make _STEP pages of *live*; at least one, never all."""
    page_size, pages = (int(_pragma(scratch, name)) for name in ("page_size", "page_count"))
    return min(max(1, _STEP * int(_pragma(live, "page_size")) // page_size), pages - 1)


def require_room(database: Database, target: Path, manifest: Manifest, *, keep_old: bool) -> tuple[int, int]:
    """The scratch, the old data set aside, and the journal or log of the copy have to fit; bytes needed and free.

    :raises RestoreRefused: there is no folder to restore into.
    :raises NotEnoughSpace: they do not fit.
    """
    if not target.parent.is_dir():
        raise RestoreRefused(f"The folder {target.parent} of the database {database.alias!r} is missing: create it.")
    if target.is_dir():
        raise RestoreRefused(f"{target}, the NAME of the database {database.alias!r}, is a folder: correct it.")
    new = manifest.archive.raw_size
    old = sum(path.stat().st_size for path in _files(target))
    aside_size = old if keep_old else 0
    needed, free = new + aside_size + max(new, old), shutil.disk_usage(target.parent).free
    if free < needed:
        raise NotEnoughSpace.of(
            target.parent,
            needed,
            free,
            f"It is needed for a scratch ({new:,} bytes), the old data set aside ({aside_size:,} bytes) and SQLite's "
            "journal. Nothing was touched.",
        )
    return needed, free


def _files(target: Path) -> list[Path]:
    candidates = [target, *(Path(f"{target}{suffix}") for suffix in COMPANIONS)]
    return [path for path in candidates if path.exists()]


def _open(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(uri(path, mode=mode), uri=True, timeout=LOCK_TIMEOUT, isolation_level=None)


def _pragma(connection: sqlite3.Connection, name: str) -> str:
    return str(connection.execute(f"PRAGMA {name}").fetchone()[0])
