"""One backup of a source at a time on this machine: a file that the kernel unlocks when its process is gone.

Other machines are kept out by the run's row in the history (:mod:`~django_cfg.backup.services.runs.lease`). The two
need each other: this lock holds when the history is down, that one reaches further.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256
from pathlib import Path

from django_cfg.backup.errors import AlreadyRunning
from django_cfg.backup.manifest import Source
from django_cfg.backup.process.private_dir import is_private
from django_cfg.backup.services.project.places import Place
from django_cfg.backup.services.project.project import Project

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LONGEST = 100  # characters that the history keeps
_PROCESS = "/"  # begins the part of an identity that names the process
_PATIENCE = 2.0  # seconds
_log = logging.getLogger("django_cfg.backup")


@contextmanager
def source_lock(project: Project, source: Source, kind: str) -> Iterator[str]:
    """Hold the lock of *source* for the block; yields the identity of the locked file, "" where none can be made.

    To be entered where signals are deferred: a process that outlives its run must not keep the lock.

    :param kind: of the runs that it keeps apart.

    :raises AlreadyRunning: a process of this machine holds it.
    """
    path = _path(project, source, kind)
    descriptor = _locked(path, f"{kind} of {source}")
    if descriptor is None:
        yield ""
        return
    try:
        yield (_identity(descriptor) + _process_identity())[:_LONGEST]
    finally:
        path.unlink(missing_ok=True)  # while it is locked, no other process can hold it
        os.close(descriptor)


def copy_lock(project: Project, source: Source, place: Place) -> AbstractContextManager[str]:
    """The lock of the copies of *source* to *place*; what deletes takes it, too, so that no copy brings it back.

    :raises AlreadyRunning: a process of this machine holds it.
    """
    return source_lock(project, source, f"copy to {place.name}")


def holder_lives(project: Project, source: Source, lock_file: str, kind: str) -> bool | None:
    """Return whether the process that locked *lock_file* is alive; None when that cannot be seen from here.

    While a process lives, the number of its file is taken: no other file can be mistaken for it.
    """
    try:
        descriptor = os.open(_path(project, source, kind), os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        is_the_one = is_private(os.fstat(descriptor)) and is_same_file(_identity(descriptor), lock_file)
        return not _is_free(descriptor) if is_the_one else None
    finally:
        os.close(descriptor)


def is_same_file(one: str, other: str) -> bool:
    """Compare two identities by their file alone."""
    return one.partition(_PROCESS)[0] == other.partition(_PROCESS)[0]


def is_of_a_dead_process(lock_file: str) -> bool:
    """Return True if the process that locked the file ran on this machine, among the same processes, and is gone.

    False says nothing: another machine or container cannot be seen from here, and a process may outlive its run.
    """
    machine, (_, mark, process) = lock_file.partition(":")[0], lock_file.partition(_PROCESS)
    if not mark or machine != _machine():
        return False
    space, number, started = process.split(":") if process.count(":") == 2 else ("", "", "")
    return bool(space) and space == _process_space() and _start_of(number) != started


def is_of_an_earlier_boot(lock_file: str, host: str) -> bool:
    """Return True if the file was locked by a process of this machine before its last restart."""
    machine, _, _ = lock_file.partition(":")
    return bool(lock_file) and host == socket.gethostname() and machine != _machine()


def _path(project: Project, source: Source, kind: str) -> Path:
    parts = (source.project, source.env, source.database, project.storage.location, str(kind))
    digest = sha256("\0".join(parts).encode()).hexdigest()[:24]
    return Path(tempfile.gettempdir(), f"django-cfg-lock-{os.getuid()}-{digest}")


def _locked(path: Path, what: str) -> int | None:
    """A descriptor that holds the lock; None where no file can be made."""
    deadline = time.monotonic() + _PATIENCE
    try:
        while True:
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
            if not is_private(os.fstat(descriptor)):
                os.close(descriptor)
                raise PermissionError(errno.EPERM, "it is another user's, or others may write it", str(path))
            is_mine = _is_free(descriptor)
            if is_mine and _is_still(path, descriptor):
                return descriptor
            os.close(descriptor)
            if not is_mine:
                _wait_a_little(deadline, what)
    except OSError as error:
        _log.warning("No lock file for the %s: %s. Only the history keeps a second one out.", what, error)
        return None


def _is_free(descriptor: int) -> bool:
    """Take the lock unless another process holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_a_little(deadline: float, what: str) -> None:
    """Wait: a process that only checks whether the holder lives has the lock for a moment."""
    if time.monotonic() > deadline:
        raise AlreadyRunning(
            f"A {what} is being made by another process of this machine, and two at once are never made: "
            "wait for its end. The lock ends with that process, however it ends."
        )
    time.sleep(_PATIENCE / 40)


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _identity(descriptor: int) -> str:
    """Different for any two lock files that exist at the same time, on whatever machines."""
    found = os.fstat(descriptor)
    return f"{_machine()}:{found.st_dev:x}:{found.st_ino:x}"


def _process_identity() -> str:
    """Different for any two processes of a machine; empty where the system does not say."""
    number = str(os.getpid())
    space, started = _process_space(), _start_of(number)
    return f"{_PROCESS}{space}:{number}:{started}" if space and started else ""


def _process_space() -> str:
    """Return the number of the namespace in which process ids count."""
    try:
        return str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")
    except OSError:
        return ""


def _start_of(process: str) -> str:
    """Return when a process began, in ticks since the boot; empty if there is none of this id."""
    try:
        status = Path("/proc", process, "stat").read_text()
    except OSError:
        return ""
    return status.rpartition(")")[2].split()[19]  # the 22nd field; the second one, a name, may hold blanks


def _machine() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return socket.gethostname()
