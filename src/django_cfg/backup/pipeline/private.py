"""Private temporary folders: for their owner only, and not left behind by a process that was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from django_cfg.backup.errors import StorageError

_PREFIX = "django-cfg-backup-"
_LOCK = "lock"

Ending = Callable[[Path], None]  # told a folder that is about to be removed


def _nothing(folder: Path) -> None:
    """Most folders need no farewell."""


@contextmanager
def private_folder(prefix: str = _PREFIX, parent: Path | None = None, ending: Ending = _nothing) -> Iterator[Path]:
    """A temporary folder (0700), removed with all that is in it; those of dead processes are removed first.

    :param parent: where it is made; None: where temporary files go.
    :param ending: ends what still runs in a folder, before it is removed.
    :raises StorageError: none can be made.
    """
    parent = parent or Path(tempfile.gettempdir())
    _sweep(parent, prefix, ending)
    try:
        temporary = tempfile.TemporaryDirectory(prefix=prefix, dir=parent)
    except OSError as error:
        raise StorageError(
            f"No temporary folder can be made: {error.strerror}. Set TMPDIR to a usable place."
        ) from error
    with temporary as name, _locked(Path(name)):
        try:
            yield Path(name)
        finally:
            ending(Path(name))


def create_private(path: Path) -> IO[bytes]:
    """A new file for its owner alone (0600), whatever the umask, open for writing.

    :raises OSError: it exists, or cannot be made.
    """
    return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")


@contextmanager
def open_lock(folder: Path, name: str = _LOCK) -> Iterator[int]:
    """The lock file of *folder*, open and not yet locked."""
    descriptor = os.open(folder / name, os.O_CREAT | os.O_RDWR, 0o600)
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


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The folder's lock appears under its name when it is held: who finds it free finds a dead process's."""
    being_made = f"{_LOCK}.new"
    with open_lock(folder, being_made) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (folder / being_made).rename(folder / _LOCK)
        yield


def _sweep(parent: Path, prefix: str, ending: Ending) -> None:
    """Remove the folders of this user whose process is dead: its lock went with it, its data did not."""
    with suppress(OSError):
        for folder in parent.glob(f"{prefix}*"):
            if folder.stat().st_uid == os.geteuid() and (folder / _LOCK).exists():
                _remove_if_dead(folder, ending)


def _remove_if_dead(folder: Path, ending: Ending) -> None:
    with suppress(OSError), open_lock(folder) as lock:
        if holds_lock(lock, folder):
            ending(folder)
            shutil.rmtree(folder, ignore_errors=True)
