"""Temporary files that no other user may read: in a private folder, not left behind by a process that was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from django_cfg.backup.errors import NotEnoughSpace, StorageError
from django_cfg.backup.pipeline.stream import Readable, blocks

_PREFIX = "django-cfg-backup-"
_LOCK = "lock"


@contextmanager
def private_folder() -> Iterator[Path]:
    """A temporary folder (0700), removed with all that is in it; those of dead processes are removed first.

    :raises StorageError: none can be made.
    """
    _sweep()
    try:
        temporary = tempfile.TemporaryDirectory(prefix=_PREFIX)
    except OSError as error:
        raise StorageError(
            f"No temporary folder can be made: {error.strerror}. Set TMPDIR to a usable place."
        ) from error
    with temporary as name, open_lock(Path(name)) as lock:
        holds_lock(lock, Path(name))
        yield Path(name)


@contextmanager
def open_lock(folder: Path) -> Iterator[int]:
    """The lock file of *folder*, open and not yet locked."""
    descriptor = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def holds_lock(lock: int, folder: Path) -> bool:
    """Take the lock, or find it taken; a lock file whose folder is gone protects nothing."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(lock), (folder / _LOCK).stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def require_temporary_space(needed: int) -> None:
    """
    :raises NotEnoughSpace: fewer than *needed* bytes are free where temporary files go.
    """
    place = tempfile.gettempdir()
    free = shutil.disk_usage(place).free
    if free < needed:
        raise NotEnoughSpace.of(
            place, needed, free, "A temporary copy is made there: free some, or set TMPDIR to another place."
        )


def write_temporary(path: Path, plain: Readable) -> None:
    """Write *plain* into the temporary file *path*."""
    with path.open("wb") as file:
        for block in blocks(plain):
            try:
                file.write(block)
            except OSError as error:
                raise StorageError.from_os("write the temporary file", path, error) from error


def _sweep() -> None:
    """Remove the folders of this user whose process is dead: its lock went with it, its files did not."""
    with suppress(OSError):
        for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            if folder.stat().st_uid == os.geteuid() and (folder / _LOCK).exists():
                _remove_if_dead(folder)


def _remove_if_dead(folder: Path) -> None:
    with suppress(OSError), open_lock(folder) as lock:
        # one with nothing but its lock file may be a living process's that has not come to lock it yet
        if len(list(folder.iterdir())) > 1 and holds_lock(lock, folder):
            shutil.rmtree(folder, ignore_errors=True)
