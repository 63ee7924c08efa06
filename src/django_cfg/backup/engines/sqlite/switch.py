"""The switch: SQLite itself copies the staging file into the live file, in one transaction.

Killed at any moment, the journal brings back the old data, and connections that stay open see the new data.
Replacing the file instead would leave them writing to the old one (https://sqlite.org/howtocorrupt.html, sections 1.4
and 2.4); that is done only where SQLite itself can no longer read the old file.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing

from django_cfg.backup.engines.sqlite.connection import open_file, raise_if_locked
from django_cfg.backup.engines.sqlite.kept_data import sync, take_owner_and_mode
from django_cfg.backup.engines.sqlite.schema import read_pragma
from django_cfg.backup.engines.sqlite.staging import StagingRestoration
from django_cfg.backup.errors import RestoreFailed

# Live pages copied at a time, and live pages that the connection may hold before it writes them to the file:
# while the old data is saved, after the first step, the file has to be as it was. The step with the last page
# commits, so the first one may never hold all pages.
_STEP = 64
_CACHE = 4 * _STEP
_UNREADABLE = ("SQLITE_NOTADB", "SQLITE_CORRUPT")


class DatabaseRestoration(StagingRestoration):
    """The staging file becomes the database."""

    def _replace_data(self) -> str:
        if not self._target.exists():
            self._replace_file()
            return ""
        try:
            self._copy_into_live()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorname not in _UNREADABLE:
                raise
            self._replace_file()
            return (
                "SQLite could not read the old file, so it was replaced entirely: "
                "restart the processes that had it open."
            )
        return ""

    def _replace_file(self) -> None:
        take_owner_and_mode(self._staging, like=self._target if self._target.exists() else None)
        self._old_data.link()
        self._staging.replace(self._target)
        sync(self._target.parent)

    def _copy_into_live(self) -> None:
        """Copy in one transaction. Its first step takes the write lock, under which the old data is saved."""

        def save_old_data(status: int, remaining: int, total: int) -> None:
            raise_if_locked(status, remaining, total)
            if self._keep_old and not self._old_data.exists:
                self._old_data.copy(wal=wal)

        with closing(open_file(self._target, mode="rw")) as live:
            wal = read_pragma(live, "journal_mode") == "wal"
            live_page_size = int(read_pragma(live, "page_size"))
            if wal:
                self._convert_page_size(live_page_size)
            live.execute(f"PRAGMA cache_size = {_CACHE}")
            with closing(open_file(self._staging, mode="ro")) as staging:
                page_size, pages = (int(read_pragma(staging, name)) for name in ("page_size", "page_count"))
                step = min(max(1, _STEP * live_page_size // page_size), pages - 1)
                staging.backup(live, pages=step, progress=save_old_data)

    def _convert_page_size(self, page_size: int) -> None:
        """Give the staging file the live page size, which cannot change under a write-ahead log."""
        with closing(open_file(self._staging, mode="ro")) as staging:
            if int(read_pragma(staging, "page_size")) == page_size:
                return
        try:
            self._write_again(f"PRAGMA page_size = {page_size}")
        except sqlite3.DatabaseError as error:
            raise RestoreFailed(
                f"The scratch file could not be given the page size of the database, {page_size} bytes, which cannot "
                f"change under a write-ahead log: {error}. The database {self._database.alias!r} is as it was. Stop "
                f"the site, move {self._target} with its -wal and -shm away, and restore again."
            ) from error
