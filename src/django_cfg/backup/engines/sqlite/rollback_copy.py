"""The old data while the switch goes on: held in the workshop, and let out under a name that is told once it is over.

What a killed switch has left there is looked at later: either the switch had not happened, and the database is still
the old data itself, or it had, and the old data is let out then.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from django_cfg.backup.engines.sqlite import kept_data
from django_cfg.backup.engines.sqlite.connection import COMPANIONS, open_live, uri
from django_cfg.backup.errors import RestoreFailed

_COOKIE = slice(40, 44)  # of a file's header: the schema cookie, which every switch changes


class Held:
    """What is held of the database file *target* in the folder *workshop*."""

    def __init__(self, target: Path, workshop: Path) -> None:
        self._target = target
        self._folder = workshop / "held"
        self.path = self._folder / "old"
        self._cookie = self._folder / "schema_version"

    @property
    def is_there(self) -> bool:
        return self._folder.exists()

    def copy(self, *, through_sqlite: bool) -> None:
        """Hold a copy of the live database, whose write lock we have.

        Under a write-ahead log the newest data is not in the file, but others may read: SQLite copies.
        With a rollback journal nobody may read now, and the file is the data: it is copied by a program,
        since opening it here would drop this process's locks.

        :raises RestoreFailed: there is no room for it, or the like.
        """
        try:
            self._copy(through_sqlite=through_sqlite)
        except OSError as error:
            raise _not_set_aside(self._target, str(error.strerror)) from error

    def _copy(self, *, through_sqlite: bool) -> None:
        part = self._folder.with_name("scratch-old")
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
        version = _copy_by_sqlite(self._target, part) if through_sqlite else _copy_by_program(self._target, part)
        take_owner_and_mode(part, like=self._target)
        sync(part)
        making = self._folder.with_name("scratch-held")
        making.mkdir(mode=0o700)
        (making / self._cookie.name).write_text(str(version))
        part.rename(making / self.path.name)
        sync(making)
        making.rename(self._folder)

    def link(self) -> None:
        """Hold the file itself, which SQLite cannot read, or the journals of one that is lost.

        They go before another file takes its place: SQLite would apply them to it.
        """
        self.drop()
        self._folder.mkdir(mode=0o700)
        if self._target.exists():
            os.link(self._target, self.path)
        for suffix in COMPANIONS:
            _move(Path(f"{self._target}{suffix}"), Path(f"{self.path}{suffix}"))

    def let_out(self) -> Path:
        """Give the old data the name under which it is kept, once the switch has happened.

        :raises OSError: it is still here.
        """
        old_data = kept_data.free_name(self._target, datetime.fromtimestamp(self._folder.stat().st_mtime, UTC))
        for suffix in (*COMPANIONS, ""):
            _move(Path(f"{self.path}{suffix}"), Path(f"{old_data}{suffix}"))
        sync(old_data.parent)
        self.drop()
        return old_data

    def drop(self) -> None:
        """Let it be gone: nobody wants it, or the database is it."""
        if self.is_there:
            shutil.rmtree(self._folder)

    def settle(self) -> None:
        """End what a switch has left here that failed, or whose process died.

        :raises OSError: it is still here.
        """
        if not self.is_there:
            return
        if self._has_been_replaced():
            self.let_out()
            return
        for suffix in COMPANIONS:
            _move(Path(f"{self.path}{suffix}"), Path(f"{self._target}{suffix}"))
        self.drop()

    def _has_been_replaced(self) -> bool:
        """False only where the database is seen to be what it was: on any doubt the old data is kept."""
        if not self.path.exists() or not self._target.exists():
            return self.path.exists() or self._target.exists()
        if self.path.samefile(self._target):
            return False
        try:
            with closing(open_live(self._target)) as live:
                return _version(live) != int(self._cookie.read_text())
        except (sqlite3.DatabaseError, OSError, ValueError):
            return True


def _copy_by_sqlite(source: Path, target: Path) -> int:
    with closing(sqlite3.connect(uri(source, mode="ro"), uri=True)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)
        return _version(live)


def _copy_by_program(source: Path, target: Path) -> int:
    done = subprocess.run(["cp", "--", source, target], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise _not_set_aside(source, done.stderr.strip())
    with target.open("rb") as copy:
        return int.from_bytes(copy.read(_COOKIE.stop)[_COOKIE], "big")


def _not_set_aside(source: Path, why: str) -> RestoreFailed:
    return RestoreFailed(f"The old data of {source} could not be set aside: {why}. The database is as it was.")


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA schema_version").fetchone()[0]
    return version


def _move(source: Path, target: Path) -> None:
    if source.exists():
        source.rename(target)


def take_owner_and_mode(path: Path, *, like: Path | None) -> None:
    """What root restores has to stay readable for the site; a new file belongs to its folder's owner."""
    model = (like or path.parent.parent).stat()
    if os.geteuid() == 0:
        os.chown(path, model.st_uid, model.st_gid)
    path.chmod(model.st_mode & 0o777 if like else 0o666 & ~_umask())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
