"""The old data of a restore: copied into the workspace before the switch, and kept under a name of its own after it.

A killed switch leaves the copy in the workspace. It is dropped later if the database is still the old data itself, and
kept if the switch had happened.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from django_cfg.backup.engines.base import KeptObject
from django_cfg.backup.engines.sqlite.connection import COMPANIONS, list_existing_files, open_file, open_read_only
from django_cfg.backup.engines.sqlite.schema import read_pragma
from django_cfg.backup.errors import RestoreFailed
from django_cfg.backup.process.environment import child_environment

_TIMESTAMP = "%Y%m%d_%H%M%S"  # of this machine's clock
_SCHEMA_VERSION = slice(40, 44)  # of a file's header; every switch changes it


def list_kept(target: Path) -> list[KeptObject]:
    """Return the old data of the database file *target* that restores have kept, newest first."""
    kept = [
        KeptObject(str(path), sum(file.stat().st_size for file in list_existing_files(path)), made_at)
        for path in target.parent.glob(f"{glob.escape(target.name)}.before-restore-*")
        if (made_at := _parse_name(path.name, target.name))
    ]
    return sorted(kept, key=lambda old_data: old_data.made_at, reverse=True)


def _parse_name(name: str, target: str) -> datetime | None:
    """Return when a restore of *target* made the file *name*; None for a file of other origin, and for journals."""
    found = re.fullmatch(rf"{re.escape(target)}\.before-restore-(\d{{8}}_\d{{6}})(-\d+)?", name)
    try:
        return datetime.strptime(found[1], _TIMESTAMP).astimezone() if found else None
    except ValueError:  # digits that are no date
        return None


class OldData:
    """The old data of the database file *target*, in the folder *workspace* until the switch has happened."""

    def __init__(self, target: Path, workspace: Path) -> None:
        self._target = target
        self._folder = workspace / "old-data"
        self.path = self._folder / "database"
        self._version = self._folder / "schema_version"

    @property
    def exists(self) -> bool:
        return self._folder.exists()

    def copy(self, *, wal: bool) -> None:
        """Copy the live database, whose write lock the caller holds.

        With a write-ahead log (*wal*) the newest data is not in the file, and others may read: SQLite copies. With a
        rollback journal no connection may read, and the file is all the data: a program copies it, since opening the
        file here would drop the locks of this process.

        :raises RestoreFailed: there is no room for it, or the folder refuses it.
        """
        copy, folder = self._folder.with_name("scratch-old"), self._folder.with_name("scratch-old-data")
        try:
            copy.unlink(missing_ok=True)
            copy.touch(mode=0o600)
            version = _copy_by_sqlite(self._target, copy) if wal else _copy_by_program(self._target, copy)
            take_owner_and_mode(copy, like=self._target)
            sync(copy)
            folder.mkdir(mode=0o700)
            (folder / self._version.name).write_text(version)
            copy.rename(folder / self.path.name)
            sync(folder)
            folder.rename(self._folder)
        except OSError as error:
            raise _copy_failed(self._target, str(error.strerror)) from error

    def link(self) -> None:
        """Link the file itself, which SQLite cannot read, and move its journals, which may be those of a lost file.

        The journals go before another file takes its place: SQLite would apply them to that file.
        """
        self.discard()
        self._folder.mkdir(mode=0o700)
        if self._target.exists():
            os.link(self._target, self.path)
        _move(self._target, self.path, COMPANIONS)

    def keep(self) -> Path:
        """Give the old data the name under which it is kept, once the switch has happened.

        :raises OSError: it is still in the workspace.
        """
        made_at = datetime.fromtimestamp(self._folder.stat().st_mtime, UTC).astimezone()
        wanted = kept = self._target.with_name(f"{self._target.name}.before-restore-{made_at:{_TIMESTAMP}}")
        number = 1
        while kept.exists():
            number += 1
            kept = wanted.with_name(f"{wanted.name}-{number}")
        _move(self.path, kept, (*COMPANIONS, ""))
        sync(kept.parent)
        self.discard()
        return kept

    def discard(self) -> None:
        if self.exists:
            shutil.rmtree(self._folder)

    def recover(self) -> None:
        """Finish or undo what a switch has left in the workspace that failed, or whose process died.

        :raises OSError: it is still there.
        """
        if not self.exists:
            return
        if self._is_replaced():
            self.keep()
        else:
            _move(self.path, self._target, COMPANIONS)
            self.discard()

    def _is_replaced(self) -> bool:
        """Return False only if the database is certainly the old data: if in doubt, the old data is kept."""
        if not self.path.exists() or not self._target.exists():
            return self.path.exists() or self._target.exists()
        if self.path.samefile(self._target):
            return False
        try:
            with closing(open_read_only(self._target)) as live:
                return read_pragma(live, "schema_version") != self._version.read_text()
        except (sqlite3.DatabaseError, OSError, ValueError):
            return True


def _copy_by_sqlite(source: Path, target: Path) -> str:
    """Copy, and return the schema version of the copy."""
    with closing(open_file(source, mode="ro")) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)
        return read_pragma(live, "schema_version")


def _copy_by_program(source: Path, target: Path) -> str:
    done = subprocess.run(
        ["cp", "--", source, target], env=child_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise _copy_failed(source, done.stderr.strip())
    with target.open("rb") as copy:
        return str(int.from_bytes(copy.read(_SCHEMA_VERSION.stop)[_SCHEMA_VERSION], "big"))


def _copy_failed(source: Path, why: str) -> RestoreFailed:
    return RestoreFailed(f"The old data of {source} could not be saved: {why}. The database is as it was.")


def _move(source: Path, target: Path, suffixes: tuple[str, ...]) -> None:
    for suffix in suffixes:
        if (file := Path(f"{source}{suffix}")).exists():
            file.rename(f"{target}{suffix}")


def take_owner_and_mode(path: Path, *, like: Path | None) -> None:
    """Keep what root restores readable for the site; None: a new file, which belongs to its folder's owner."""
    model = (like or path.parent.parent).stat()
    if os.geteuid() == 0:
        os.chown(path, model.st_uid, model.st_gid)
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(model.st_mode & 0o777 if like else 0o666 & ~mask)


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
