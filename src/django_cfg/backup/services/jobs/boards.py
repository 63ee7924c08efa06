"""Where the state of a job is written and read: a file of this machine, or the job's entry on its RQ queue.

No database: a restore may replace the one that would hold it.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from django_cfg.backup.errors import StorageError, UsageError
from django_cfg.backup.process.private_dir import create_private, is_private
from django_cfg.backup.services.jobs.job import JobPhase, JobState
from django_cfg.backup.services.schedule import rq

_KEPT = 7 * 86_400.0  # seconds
_NUMBER = re.compile(r"[0-9a-f]{24}")


class Board(ABC):
    """One job's state, and the wish that it ends.

    Each method raises BackupError or OSError where the state cannot be reached.
    """

    @abstractmethod
    def write(self, state: JobState) -> None:
        """Replace the state."""

    @abstractmethod
    def read(self) -> JobState | None:
        """Return the state; None: there is none that can be understood."""

    @abstractmethod
    def take(self) -> bool:
        """Take the job to do it; False: it was taken before. No job is done twice, whatever a queue delivers."""

    @abstractmethod
    def cancel(self, by: str) -> None:
        """Record that *by* has cancelled the job."""

    @abstractmethod
    def cancelled_by(self) -> str:
        """Return who has cancelled the job; empty if it is not cancelled."""


class FileBoard(Board):
    """A file for this user alone, in the folder of temporary files."""

    def __init__(self, number: str) -> None:
        if not _NUMBER.fullmatch(number):
            raise UsageError(f"{number!r} is no job.")
        self._number = number

    @property
    def log(self) -> Path:
        """What the process of the job prints, unexpected errors above all."""
        return self._file("log")

    def write(self, state: JobState) -> None:
        new = self._file(f"{os.getpid()}.new")
        new.unlink(missing_ok=True)
        with create_private(new) as file:
            file.write(state.model_dump_json().encode())
        new.replace(self._file("json"))

    def read(self) -> JobState | None:
        try:
            state = JobState.model_validate_json(self._file("json").read_bytes())
        except (OSError, ValidationError):
            return None
        return state if state.job.id == self._number else None

    def take(self) -> bool:
        try:
            create_private(self._file("taken")).close()
        except FileExistsError:
            return False
        return True

    def cancel(self, by: str) -> None:
        with suppress(FileExistsError), create_private(self._file("cancel")) as file:
            file.write(by.encode())

    def cancelled_by(self) -> str:
        try:
            return self._file("cancel").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def _file(self, suffix: str) -> Path:
        return _folder() / f"{self._number}.{suffix}"


class QueueBoard(Board):
    """The job's entry in Redis: its worker may run on another machine."""

    def __init__(self, queue: str, number: str) -> None:
        self._queue, self._number = queue, number

    def write(self, state: JobState) -> None:
        rq.write_note(self._queue, rq.job_id_of(self._number), "state", state.model_dump_json())

    def read(self) -> JobState | None:
        state = self._read()
        if state and not state.has_ended and (why := rq.describe_end(self._queue, rq.job_id_of(self._number))):
            again = self._read()  # its worker may have written the end in the meantime
            return again if again is None or again.has_ended else again.ended(JobPhase.FAILED, why)
        return state

    def take(self) -> bool:
        return rq.write_first_note(self._queue, rq.job_id_of(self._number), "taken", "1")

    def cancel(self, by: str) -> None:
        rq.write_note(self._queue, rq.job_id_of(self._number), "cancelled_by", by)

    def cancelled_by(self) -> str:
        return rq.read_note(self._queue, rq.job_id_of(self._number), "cancelled_by")

    def _read(self) -> JobState | None:
        try:
            return JobState.model_validate_json(rq.read_note(self._queue, rq.job_id_of(self._number), "state"))
        except ValidationError:
            return None


def sweep_boards() -> None:
    """Remove the files of jobs that ended long ago."""
    for path in _folder().iterdir():
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _KEPT:
                path.unlink()


def _folder() -> Path:
    folder = Path(tempfile.gettempdir(), f"django-cfg-jobs-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise StorageError.from_os("make", folder, error) from error
    if not folder.is_dir() or folder.is_symlink() or not is_private(found):
        raise StorageError(
            f"{folder} is not a folder for this user alone, so no job is started: another user may have made it. "
            "Remove it, or set TMPDIR to a place of your own."
        )
    return folder
