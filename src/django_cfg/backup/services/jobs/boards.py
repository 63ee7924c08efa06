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

from django_cfg.backup.errors import BackupError, StorageError
from django_cfg.backup.process.private_dir import create_private, is_private
from django_cfg.backup.services.jobs.job import JobState
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.schedule import rq

_KEPT = 7 * 86_400.0  # seconds
_NUMBER = re.compile(r"[0-9a-f]{24}")


class Board(ABC):
    """One job's state, and the wish that it ends."""

    @abstractmethod
    def write(self, state: JobState) -> None:
        """Replace the state."""

    @abstractmethod
    def read(self) -> JobState | None:
        """Return the state; None: there is none."""

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
            raise StorageError(f"{number!r} is no job.")
        self._path = _folder() / f"{number}.json"

    @property
    def log(self) -> Path:
        """What the process of the job prints that nothing foresaw."""
        return self._path.with_suffix(".log")

    def write(self, state: JobState) -> None:
        new = self._path.with_suffix(f".{os.getpid()}.new")
        new.unlink(missing_ok=True)
        with create_private(new) as file:
            file.write(state.model_dump_json().encode())
        new.replace(self._path)

    def read(self) -> JobState | None:
        try:
            return JobState.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return None

    def cancel(self, by: str) -> None:
        with suppress(FileExistsError), create_private(self._path.with_suffix(".cancel")) as file:
            file.write(by.encode())

    def cancelled_by(self) -> str:
        try:
            return self._path.with_suffix(".cancel").read_text(encoding="utf-8")
        except OSError:
            return ""


class QueueBoard(Board):
    """The job's entry in Redis: its worker may run on another machine."""

    def __init__(self, queue: str, number: str) -> None:
        self._queue, self._number = queue, number

    def write(self, state: JobState) -> None:
        rq.write_note(self._queue, rq.job_id_of(self._number), "state", state.model_dump_json())

    def read(self) -> JobState | None:
        found = rq.read_note(self._queue, rq.job_id_of(self._number), "state")
        return JobState.model_validate_json(found) if found else None

    def cancel(self, by: str) -> None:
        rq.write_note(self._queue, rq.job_id_of(self._number), "cancelled_by", by)

    def cancelled_by(self) -> str:
        return rq.read_note(self._queue, rq.job_id_of(self._number), "cancelled_by")


def find_board(project: Project, number: str) -> tuple[Board, JobState] | None:
    """Return where the state of the job *number* is, and that state; None: there is no such job any more."""
    on_file = FileBoard(number)
    state = on_file.read()
    if state and not state.queue:
        return on_file, state
    for queue in [state.queue] if state else rq.known_queues(project):
        board = QueueBoard(queue, number)
        with suppress(BackupError):
            if found := board.read():
                return board, found
    return (on_file, state) if state else None


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
