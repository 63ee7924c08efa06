"""Asking in a thread with a deadline: for drivers and servers that may never answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from django_cfg.backup.process.threads import start_thread

T = TypeVar("T")
D = TypeVar("D")


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
