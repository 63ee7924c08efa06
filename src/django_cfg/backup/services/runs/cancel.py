"""Ending a run from elsewhere: by a mark in its row, which its heart sees."""

from __future__ import annotations

from django_cfg.backup.models import Run
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.runs.history_database import find_runs, required, retry_while_locked


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
