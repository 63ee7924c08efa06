"""Ending a run from elsewhere: by a mark in its row, which its heart sees."""

from __future__ import annotations

import time

from django_cfg.backup.errors import BackupError, RunNotFound, UsageError
from django_cfg.backup.formatting import counted
from django_cfg.backup.models import Run
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.runs.history_database import find_runs, required, retry_while_locked
from django_cfg.backup.services.runs.lease import fail_dead_runs

_LOOK_EVERY = 0.2  # seconds
_NOT_LISTED = (
    "What is not in the history cannot be cancelled from elsewhere: a verification by `backup_verify`, and a restore "
    "of the database that keeps the history. Press Ctrl-C where it runs, or send SIGTERM to its process."
)


def cancel_run(number: int, by: str) -> bool:
    """Let the run of the row *number* end, or never begin; False if it has ended.

    A restore that has begun to change its target is not cut in two: it ends as it would.

    :raises HistoryUnavailable: the mark cannot be written.
    """
    row = find_runs().filter(pk=number)
    waiting, running = row.filter(state=Run.State.QUEUED), row.filter(state=Run.State.RUNNING)
    never = {"state": Run.State.CANCELLED, "finished_at": clock.now(), "message": f"Cancelled by {by}."}
    with required("cancel the run"):
        return bool(
            retry_while_locked(lambda: waiting.update(**never, cancelled_by=by) or running.update(cancelled_by=by))
        )


def choose_run(project: Project, number: int | None = None, database: str | None = None) -> Run:
    """Return the run of this *number*, or the one run that goes on; of *database*, if it is given.

    Runs whose process is gone are failed first.

    :raises RunNotFound: there is none.
    :raises UsageError: there are several, or there is no such database.
    """
    if database is not None:
        project.database(database)
    with required("look for runs"):
        fail_dead_runs(project)
        own = find_runs().filter(project=project.name, env=project.env)
        found = own.filter(pk=number) if number is not None else own.filter(state=Run.State.RUNNING)
        runs = list(found.filter(database=database) if database is not None else found)
    of = f" of {database}" if database is not None else ""
    if not runs and number is not None:
        raise RunNotFound(f"The history of {project.name}/{project.env} has no run {number}{of}.")
    if not runs:
        raise RunNotFound(f"No backup, verification or restore{of} is running, by the history. {_NOT_LISTED}")
    if len(runs) > 1:
        raise UsageError(
            f"{counted(len(runs), 'run')} are going on: name one by its number, as in `backup_cancel {runs[0].pk}`.",
            *map(describe_run, runs),
        )
    if runs[0].state not in (Run.State.RUNNING, Run.State.QUEUED):
        raise RunNotFound(f"{describe_run(runs[0])} has ended: {runs[0].state}. There is nothing to cancel.")
    return runs[0]


def describe_run(row: Run) -> str:
    """Return what the run is, in words."""
    since = f", since {row.started_at:%Y-%m-%d %H:%M:%S} UTC on {row.host}" if row.started_at else ""
    of = f" of {row.name or row.database}" if row.name or row.database else ""
    return f"Run {row.pk}, the {row.kind}{of}{since}"


def wait_for_end(row: Run, patience: float) -> Run:
    """Wait until the run has ended.

    :param patience: seconds.
    :returns: its row as it is now.
    :raises BackupError: it goes on; or it ended otherwise than cancelled.
    """
    deadline = time.monotonic() + patience
    while True:
        with required("see how the run ends"):
            now = find_runs().filter(pk=row.pk).first() or row
        if now.state != Run.State.RUNNING:
            break
        if time.monotonic() >= deadline:
            raise BackupError(
                f"{describe_run(now)} is to end, and has not ended within {counted(round(patience), 'second')}. It "
                "ends at its next step; a restore that has begun to change its database is not cut in two and ends as "
                "it would. If its process is gone, this is noticed within minutes."
            )
        time.sleep(_LOOK_EVERY)
    if now.state != Run.State.CANCELLED:
        raise BackupError(f"{describe_run(now)} was not cancelled: it had {now.state} before. {now.message}".rstrip())
    return now
