"""A dump that gives nothing for a long time is reported as overdue while it hangs: its heartbeats go on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial

from django_cfg.backup import signals
from django_cfg.backup.manifest import Source
from django_cfg.backup.pipeline.stream import OnProgress
from django_cfg.backup.process.threads import start_thread
from django_cfg.backup.services.project.connections import closing_connections

SILENCE = 15 * 60.0  # seconds without a byte
_LOOK_EVERY = 10.0  # seconds
_log = logging.getLogger("django_cfg.backup")


@contextmanager
def stalls_reported(source: Source, advance: OnProgress) -> Iterator[OnProgress]:
    """Report once if no bytes flow for ``SILENCE`` seconds; yields *advance*, to be called so that they are seen."""
    watch = _Watch(source, advance)
    thread = start_thread(partial(copy_context().run, closing_connections(watch.look)), "backup-stall")
    try:
        yield watch.note
    finally:
        watch.ended.set()
        thread.join()


class _Watch:
    def __init__(self, source: Source, advance: OnProgress) -> None:
        self._source, self._advance = source, advance
        self._last = time.monotonic()
        self.ended = threading.Event()

    def note(self, count: int) -> None:
        if count:
            self._last = time.monotonic()
        self._advance(count)

    def look(self) -> None:
        while not self.ended.wait(min(_LOOK_EVERY, SILENCE / 4)):
            if time.monotonic() - self._last > SILENCE:
                self._report()
                return

    def _report(self) -> None:
        message = (
            f"The backup of {self._source} is running, and nothing has come from the database or gone to the storage "
            f"for {SILENCE / 60:.0f} minutes. See what holds it up: a lock, a network, a program that hangs. "
            "BackupConfig.dump_timeout ends such a program."
        )
        _log.warning("%s", message)
        signals.send(signals.backup_overdue, source=self._source, message=message)
