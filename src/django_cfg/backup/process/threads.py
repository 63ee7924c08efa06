"""Threads that are known to run, and asking in one with a deadline: for drivers and servers that may never answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from django_cfg.backup.errors import BackupError

T = TypeVar("T")
D = TypeVar("D")
_ATTEMPTS = 5
_LOOK_EVERY = 0.1  # seconds


def start_thread(target: Callable[[], object], name: str) -> threading.Thread:
    """Start *target* in a daemon thread, and return when it has begun.

    CPython 3.11 ends a new thread before its target if another thread is installing a tracer, as a debugger and a
    coverage tool have one in each. What waits for such a thread would wait for ever, or take its silence for success.
    Nothing of *target* has run then, so it is started again.

    :raises BackupError: no thread has begun.
    """
    begun = threading.Event()

    def run() -> None:
        begun.set()
        target()

    for _ in range(_ATTEMPTS):
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        while not begun.wait(_LOOK_EVERY) and thread.is_alive():
            pass
        if begun.is_set():
            return thread
    raise BackupError(
        f"The thread {name!r} ended {_ATTEMPTS} times before it began, as a debugger or a coverage tool may cause. "
        "Try again without it."
    )


class InThread(Generic[T]):
    """A call in a daemon thread: one that never returns delays neither its caller nor the end of the process.

    :param name: of the thread.
    """

    def __init__(self, call: Callable[[], T], name: str) -> None:
        self._call = call
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._thread = start_thread(self._run, name)

    def wait(self, seconds: float) -> bool:
        """Return True if the call has ended within *seconds*."""
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def result(self, seconds: float, otherwise: D) -> T | D:
        """Return what the call returned, or *otherwise* if it has not ended within *seconds*; raise what it raised."""
        if not self.wait(seconds):
            return otherwise
        if self._error:
            raise self._error
        return self._results[0]

    def _run(self) -> None:
        try:
            self._results.append(self._call())
        except BaseException as error:  # noqa: BLE001  raised again in the thread that asks for the result
            self._error = error
