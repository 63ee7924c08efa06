"""How far a run is, in words."""

from __future__ import annotations

from datetime import timedelta

from django_cfg.backup.formatting import megabytes
from django_cfg.backup.models import Run


def run_progress(run: Run) -> str:
    """Return the bytes and the rate of the present stage; empty while nothing is known."""
    if not run.bytes_done:
        return ""
    total = f" of about {megabytes(run.bytes_total)}" if run.bytes_total else ""
    return f"({megabytes(run.bytes_done)}{total}{_rate(run, run.bytes_done)})"


def _rate(run: Run, done: int) -> str:
    if not run.started_at or not run.heartbeat_at:
        return ""
    seconds = max((run.heartbeat_at - run.started_at) / timedelta(seconds=1), 1.0)
    return f", {megabytes(int(done / seconds))}/s"
