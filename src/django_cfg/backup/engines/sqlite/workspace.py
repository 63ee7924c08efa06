"""The folder next to a database in which a restore works: private, for one restore at a time, swept by the next."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from django_cfg.backup.engines.sqlite.kept_data import OldData
from django_cfg.backup.errors import RestoreRefused, RestoreUnderWay
from django_cfg.backup.process.private_dir import empty_locked, remove_if_empty, take_lock


@contextmanager
def open_workspace(target: Path, alias: str) -> Iterator[Path]:
    """Make a private folder next to *target* and lock it for the block; what a dead restore left is removed.

    :raises RestoreRefused: the folder cannot be used, or another restore uses it.
    """
    folder = _folder_of(target)
    with _explain_unusable(folder):
        folder.mkdir(mode=0o700, exist_ok=True)
        lock = _open_lock(folder)
    try:
        if not take_lock(lock, folder):
            raise RestoreUnderWay(
                f"Another restore of the database {alias!r} is running in {folder}: wait for its end, then try again."
            )
        with _explain_unusable(folder):
            OldData(target, folder).recover()
            for leftover in folder.glob("scratch*"):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        yield folder
    finally:
        if take_lock(lock, folder):
            with suppress(OSError):  # the old data could not be moved: it stays here, as the restore has reported
                OldData(target, folder).recover()
                empty_locked(folder)
        os.close(lock)
        remove_if_empty(folder)


def sweep_workspace(target: Path, *, dry_run: bool = False) -> list[str]:
    """Remove the workspace of a restore of *target* that died, or only name it."""
    folder = _folder_of(target)
    with suppress(OSError):
        lock = _open_lock(folder)  # fails where there is no such folder, which is the rule
        try:
            if take_lock(lock, folder):
                if not dry_run:
                    OldData(target, folder).recover()
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
    """Open the lock file, and make one where a restore has died before that."""
    return os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)


@contextmanager
def _explain_unusable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RestoreRefused(
            f"The scratch folder {folder} cannot be used: {error.strerror}. "
            "A restore needs to write in the folder of the database."
        ) from error
