"""The folder beside a database in which a restore of it works: private, for one at a time, swept by the next."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.sqlite.connection import database_path
from django_cfg.backup.engines.sqlite.rollback_copy import Held
from django_cfg.backup.errors import RestoreRefused, RestoreUnderWay
from django_cfg.backup.process.private_dir import empty_locked, remove_if_empty, take_lock


@contextmanager
def entering(target: Path, alias: str) -> Iterator[Path]:
    """A private folder beside *target*, ours alone while we live; what a dead restore left is removed.

    :raises RestoreRefused: it cannot be used, or another restore does.
    """
    folder = _folder_of(target)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        lock = _open_lock(folder)
    except OSError as error:
        raise _unusable(folder, error) from error
    try:
        _require_lock(lock, folder, alias)
        _clear(folder, target)
        yield folder
    finally:
        if take_lock(lock, folder):
            _empty(folder, target)
        os.close(lock)
        remove_if_empty(folder)


def sweep(database: Database, *, dry_run: bool = False) -> list[str]:
    """Remove the workshop of a restore of *database* that died, unless it is only looked at."""
    target = database_path(database).resolve()
    folder = _folder_of(target)
    with suppress(OSError):
        lock = _open_lock(folder)  # no such folder, as a rule
        try:
            if take_lock(lock, folder):
                if not dry_run:
                    Held(target, folder).settle()
                    empty_locked(folder)
                return [str(folder)]
        finally:
            os.close(lock)
            if not dry_run:
                remove_if_empty(folder)
    return []


def _folder_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.restoring")


def _open_lock(folder: Path) -> int:
    """Made where there is none: who died before that left an empty folder."""
    return os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)


def _require_lock(lock: int, folder: Path, alias: str) -> None:
    if not take_lock(lock, folder):
        raise RestoreUnderWay(
            f"Another restore of the database {alias!r} is running in {folder}: wait for its end, then try again."
        )


def _clear(folder: Path, target: Path) -> None:
    try:
        Held(target, folder).settle()
        for left_over in folder.glob("scratch*"):
            shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
    except OSError as error:
        raise _unusable(folder, error) from error


def _empty(folder: Path, target: Path) -> None:
    with suppress(OSError):  # the old data could not be let out: it stays here, and that has been told
        Held(target, folder).settle()
        empty_locked(folder)


def _unusable(folder: Path, error: OSError) -> RestoreRefused:
    return RestoreRefused(
        f"The scratch folder {folder} cannot be used: {error.strerror}. "
        "A restore needs to write in the folder of the database."
    )
