"""How a service reports its progress, and hears that it is to end. It prints nothing; the commands and the admin do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from django_cfg.backup.process.deferred_signals import DeferredSignals


class Progress(Protocol):
    """What is called while an operation goes on, in its thread: any object with these methods."""

    def say(self, text: str) -> None:
        """A step begins or has ended."""

    def begin(self, label: str, total: int) -> None:
        """Bytes begin to flow, *total* as far as is known; 0 when it is not."""

    def advance(self, count: int) -> None:
        """*count* more bytes have passed."""

    def end(self) -> None:
        """They have stopped flowing."""


class _Silent:
    def __repr__(self) -> str:
        return "SILENT"

    def say(self, text: str) -> None:
        pass

    def begin(self, label: str, total: int) -> None:
        pass

    def advance(self, count: int) -> None:
        pass

    def end(self) -> None:
        pass


SILENT: Progress = _Silent()


class LiveProgress:
    """Passes progress on and keeps the last of it, for the run's row.

    In a thread that gets no signals it ends the run that somebody has cancelled.
    """

    def __init__(self, progress: Progress, deferred: DeferredSignals) -> None:
        self._progress, self._deferred = progress, deferred
        self._gets_signals = threading.current_thread() is threading.main_thread()
        self.stage = ""
        self.done = self.total = 0  # bytes; of the stage

    @property
    def cancelled_by(self) -> str:
        """Who has cancelled the run; empty if it is not cancelled."""
        return getattr(self._progress, "cancelled_by", "")

    def say(self, text: str) -> None:
        self._end_if_cancelled()
        self.stage, self.done, self.total = text, 0, 0
        self._progress.say(text)

    def begin(self, label: str, total: int) -> None:
        self.stage, self.done, self.total = label, 0, total
        self._progress.begin(label, total)

    def advance(self, count: int) -> None:
        self._end_if_cancelled()
        self.done += count
        self._progress.advance(count)

    def end(self) -> None:
        self._progress.end()

    def _end_if_cancelled(self) -> None:
        if not self._gets_signals:
            self._deferred.end_if_cancelled()


@contextmanager
def byte_progress(progress: Progress, label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Bytes flow while the block runs: call what it yields with the bytes that have just passed."""
    progress.begin(label, total)
    try:
        yield progress.advance
    finally:
        progress.end()
