"""Heartbeats of a run, so that a dead one can be distinguished from a long one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from django.db import Error, connections

from django_cfg.backup.models import Run
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.runs.history_database import can_be_opened, find_runs, history_alias
from django_cfg.backup.services.runs.reachability import PATIENCE

INTERVAL = 20.0  # seconds
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
def heartbeats(row_id: int | None) -> Iterator[None]:
    """Touch the row of the run every few seconds for the length of the block; without a row do nothing."""
    if row_id is None:
        yield
        return
    ended = threading.Event()
    heart = threading.Thread(target=_beat, args=(row_id, ended), name="backup-heartbeat", daemon=True)
    heart.start()
    try:
        yield
    finally:
        ended.set()
        heart.join(PATIENCE)  # a database that has fallen silent must not delay the end of the backup


def _beat(row_id: int, ended: threading.Event) -> None:
    while not ended.wait(INTERVAL):
        try:
            if can_be_opened(history_alias()):
                find_runs().filter(pk=row_id, state=Run.State.RUNNING).update(heartbeat_at=shared_now())
        except Error as error:
            _log.info("No heartbeat this time: %s", error)  # the next one may come through
        finally:
            connections[history_alias()].close()  # this thread's own; none stays open for hours
