"""Heartbeats of a run, so that a dead one can be distinguished from a long one; they also see that it is to end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import connections

from django_cfg.backup.formatting import printable
from django_cfg.backup.models import Run
from django_cfg.backup.process.threads import start_thread
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.progress import LiveProgress
from django_cfg.backup.services.runs.history_database import REFUSALS, can_be_opened, find_runs, history_alias
from django_cfg.backup.services.runs.reachability import PATIENCE

INTERVAL = 20.0  # seconds
_LOOK_EVERY = 2.0  # seconds
_LONGEST_STAGE = 300  # characters
# What the database takes for UTC now. Django's own Now() is in the time zone of the session, which is not always UTC.
_UTC_NOW = {
    "postgresql": "SELECT clock_timestamp() AT TIME ZONE 'UTC'",
    "mysql": "SELECT UTC_TIMESTAMP(6)",
    "oracle": "SELECT SYS_EXTRACT_UTC(SYSTIMESTAMP) FROM dual",
}
_log = logging.getLogger("django_cfg.backup")


def shared_now() -> datetime:
    """Return the time of the clock that all machines share: the history's. For a SQLite file it is this machine's."""
    connection = connections[history_alias()]
    if connection.vendor not in _UTC_NOW:
        return clock.now()
    with connection.cursor() as cursor:
        cursor.execute(_UTC_NOW[connection.vendor])
        (now,) = cursor.fetchone()
    return now.replace(tzinfo=UTC)  # type: ignore[no-any-return]  # whatever the driver gives: these three a datetime


@contextmanager
def heartbeats(row_id: int | None, progress: LiveProgress, cancel: Callable[[str], None]) -> Iterator[None]:
    """Touch the row of the run every few seconds for the length of the block, and see whether it is to end.

    :param row_id: None: there is no row, and only *progress* says whether the run is to end.
    :param cancel: called in another thread with who wants it to end.
    """
    ended = threading.Event()
    beat = _Heart(row_id, progress, cancel, ended).beat
    heart = start_thread(beat, "backup-heartbeat")
    try:
        yield
    finally:
        ended.set()
        heart.join(PATIENCE)  # a database that has fallen silent must not delay the end of the backup


@dataclass
class _Heart:
    row_id: int | None
    progress: LiveProgress
    cancel: Callable[[str], None]
    ended: threading.Event

    def beat(self) -> None:
        """Look for a wish to end often, and write seldom: each write to a SQLite file delays who reads it."""
        written = time.monotonic()
        while not self.ended.wait(min(INTERVAL, _LOOK_EVERY)):
            by = self.progress.cancelled_by
            if self.row_id is not None:
                is_due = time.monotonic() - written >= INTERVAL or not _is_file()
                by = self._meet_row(write=is_due) or by
                written = time.monotonic() if is_due else written
            if by:
                self.cancel(by)

    def _meet_row(self, *, write: bool) -> str:
        """Write the heartbeat, and return who has cancelled the run; empty if it is not cancelled."""
        try:
            if not can_be_opened(history_alias()):
                return ""
            row = find_runs().filter(pk=self.row_id or 0, state=Run.State.RUNNING)
            if write:
                live = self.progress
                stage = printable(live.stage)[:_LONGEST_STAGE]
                row.update(heartbeat_at=shared_now(), stage=stage, bytes_done=live.done, bytes_total=live.total or None)
            return row.values_list("cancelled_by", flat=True).first() or ""
        except REFUSALS as error:
            _log.info("No heartbeat this time: %s", error)  # the next one may come through
            return ""
        finally:
            connections[history_alias()].close()  # this thread's own; none stays open for hours


def _is_file() -> bool:
    return connections[history_alias()].vendor == "sqlite"
