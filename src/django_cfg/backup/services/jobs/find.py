"""Finding the state of a job, wherever it runs, and also where its process could not record how it ended."""

from __future__ import annotations

import logging
from contextlib import suppress

from django_cfg.backup.errors import BackupError
from django_cfg.backup.models import Run
from django_cfg.backup.services.jobs import task_backend
from django_cfg.backup.services.jobs.boards import Board, FileBoard, QueueBoard
from django_cfg.backup.services.jobs.job import JobPhase, JobState
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.runs.history_database import attempted, find_runs
from django_cfg.backup.services.schedule import rq

_ELSEWHERE = "A tick of another machine or user has taken it. The page Runs says how it ended."
_log = logging.getLogger("django_cfg.backup")


def find_board(project: Project, number: str) -> tuple[Board, JobState] | None:
    """Return where the state of the job *number* is, and that state; None: there is no such job any more.

    :raises UsageError: *number* is none.
    """
    on_file = FileBoard(number)
    with suppress(BackupError):  # of a folder that is another user's
        if state := on_file.read():
            return on_file, _known_elsewhere(state)
    for queue in rq.known_queues(project):
        board = QueueBoard(queue, number)
        try:
            if state := board.read():
                return board, state
        except BackupError as error:
            _log.warning("The state of the job %s is not known: %s", number, error)
    return None


def _known_elsewhere(state: JobState) -> JobState:
    """The state of a job that waits here, and was perhaps done where this file cannot be written."""
    if state.phase is not JobPhase.WAITING:
        return state
    if state.task:
        return task_backend.find_state(state)
    return _of_row(state) if state.row is not None else state


def _of_row(state: JobState) -> JobState:
    """Of a job that waits for a tick: its row is deleted by the tick that takes it."""
    with attempted("look for a job that waits for a tick") as is_possible:
        if is_possible:
            row = find_runs().filter(pk=state.row or 0).exclude(request="").first()
            if row is None:
                return state.ended(JobPhase.FAILED, _ELSEWHERE)
            if row.state == Run.State.CANCELLED:
                return state.ended(JobPhase.CANCELLED, row.message)
    return state
