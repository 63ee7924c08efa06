"""Private temporary folders: for their owner only, and not left behind by a process that was killed."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from django_cfg.backup.errors import StorageError

_PREFIX = "django-cfg-backup-"
_LOCK = "lock"
_LOCK_BEING_MADE = "lock.new"
_TIME_TO_MAKE = 3600.0  # seconds that the making or the removal of a folder never takes
_log = logging.getLogger("django_cfg.backup")

Ending = Callable[[Path], None]  # called with a folder that is about to be removed


def _nothing(folder: Path) -> None:
    """Most folders need no farewell."""


@contextmanager
def private_dir(prefix: str = _PREFIX, parent: Path | None = None, ending: Ending = _nothing) -> Iterator[Path]:
    """A temporary folder (0700), removed with all that is in it; those of dead processes are removed first.

    :param parent: where it is made; None: where temporary files go.
    :param ending: ends what still runs in a folder, before it is removed.
    :raises StorageError: none can be made.
    """
    parent = parent or Path(tempfile.gettempdir())
    _sweep(parent, prefix, ending)
    try:
        folder, lock = _make(parent, prefix)
    except OSError as error:
        raise StorageError(
            f"No temporary folder can be made: {error.strerror}. Set TMPDIR to a usable place."
        ) from error
    with ExitStack() as last_first:  # each of them whatever the others meet
        last_first.callback(remove_if_empty, folder)
        last_first.callback(os.close, lock)
        last_first.callback(_empty_or_log, folder)
        last_first.callback(ending, folder)
        yield folder


def is_private(found: os.stat_result) -> bool:
    """Return True if what has this status belongs to this user, and no other may read or write it.

    Where temporary files go, anyone can make a file or folder of a name that is known before.
    """
    return found.st_uid == os.geteuid() and not found.st_mode & 0o077


def create_private(path: Path) -> IO[bytes]:
    """A new file for its owner alone (0600), whatever the umask, open for writing.

    :raises OSError: it exists, or cannot be made.
    """
    return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")


@contextmanager
def open_lock(folder: Path) -> Iterator[int]:
    """The lock file of *folder*, open and not yet locked; never created, or a folder could not be removed.

    :raises OSError: there is none, or not for this user.
    """
    descriptor = os.open(folder / _LOCK, os.O_RDWR)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def take_lock(lock: int, folder: Path) -> bool:
    """Take the lock, or find it taken; a lock file whose folder is gone protects nothing."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(lock), (folder / _LOCK).stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def empty_locked(folder: Path) -> None:
    """Remove all that is in *folder*, whose lock the caller holds until this returns; the lock goes last.

    What is left where this is cut short still has its lock, and is removed by the next who sweeps. The folder itself
    can be removed when the lock has been closed: a network folder keeps what is open.

    :raises OSError: something in it cannot be removed; the rest is gone, but for the lock.
    """
    failures = [error for entry in folder.iterdir() if entry.name != _LOCK and (error := _failure_to_remove(entry))]
    if failures:
        raise failures[0]
    (folder / _LOCK).unlink(missing_ok=True)


def remove_if_empty(folder: Path) -> None:
    """Remove *folder* unless something stayed in it, which has been logged or belongs to another process."""
    with suppress(OSError):
        folder.rmdir()


def _failure_to_remove(entry: Path) -> OSError | None:
    try:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
            return OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(entry)) if entry.exists() else None
        entry.unlink(missing_ok=True)  # an agent that ends removes its own socket
    except OSError as error:
        return error
    return None


def _make(parent: Path, prefix: str) -> tuple[Path, int]:
    """A new folder and its lock, which has its name only when it is held: who finds it free finds a dead process's."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    being_made = folder / _LOCK_BEING_MADE
    with ExitStack() as undone:
        undone.callback(shutil.rmtree, folder, ignore_errors=True)
        lock = os.open(being_made, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        undone.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX)
        being_made.rename(folder / _LOCK)
        undone.pop_all()
    return folder, lock


def _empty_or_log(folder: Path) -> None:
    """A backup does not fail because something of a temporary folder stays."""
    try:
        empty_locked(folder)
    except OSError as error:
        _log.warning("The temporary folder %s could not be removed (%s). The next run tries again.", folder, error)


def _sweep(parent: Path, prefix: str, ending: Ending) -> None:
    """Remove the folders of this user whose process is dead: its lock went with it, its data did not."""
    with suppress(OSError):
        for folder in parent.glob(f"{prefix}*"):
            with suppress(OSError):  # gone in the meantime
                found = folder.lstat()
                if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
                    if (folder / _LOCK).exists():
                        _remove_if_dead(folder, ending)
                    elif time.time() - found.st_mtime > _TIME_TO_MAKE:  # its process was killed then
                        (folder / _LOCK_BEING_MADE).unlink(missing_ok=True)
                        remove_if_empty(folder)


def _remove_if_dead(folder: Path, ending: Ending) -> None:
    with open_lock(folder) as lock:
        if is_dead := take_lock(lock, folder):
            ending(folder)
            _empty_or_log(folder)
    if is_dead:
        remove_if_empty(folder)
