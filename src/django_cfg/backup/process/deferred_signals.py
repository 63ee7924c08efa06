"""Steps that a signal may not cut in two."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

# What ends us in order; SIGALRM by a limit of time, RQ's or our own.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)

_Trace = TracebackType | None


class DeferredSignals:
    """A block at whose end a signal arrives that came in it and would end us. See :func:`defer_signals`.

    A class and no generator: what a signal raises while the block of a generator is entered leaves it unfinished.
    """

    def __init__(self) -> None:
        self._handlers: dict[signal.Signals, Any] = {}
        self._came: list[int] = []

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # the others get no signals
            self._handlers = {number: signal.getsignal(number) for number in ENDING}
            try:
                self.defer()
            except BaseException:
                _set_handlers(self._handlers)
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: _Trace) -> None:
        try:
            self.deliver()
        except BaseException as ended:
            if isinstance(error, Exception):  # why the block failed, and what it has left behind
                for note in (str(error), *getattr(error, "__notes__", ())):
                    ended.add_note(note)
            raise

    def allowed(self) -> _AllowedSignals:
        """A part of the block in which signals arrive as usual, first the one that has come before."""
        return _AllowedSignals(self)

    def defer(self) -> None:
        """Keep what comes from now on."""
        _set_handlers(dict.fromkeys(self._handlers, self._remember))

    def deliver(self) -> None:
        """Let signals arrive, first the one that has come."""
        _set_handlers(self._handlers)
        if self._came:
            number = self._came[0]
            self._came.clear()
            signal.raise_signal(number)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._came.append(number)


class _AllowedSignals:
    def __init__(self, deferred: DeferredSignals) -> None:
        self._deferred = deferred

    def __enter__(self) -> None:
        try:
            self._deferred.deliver()
        except BaseException:
            self._deferred.defer()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: _Trace) -> None:
        self._deferred.defer()


def defer_signals() -> DeferredSignals:
    """Let a signal that would end us wait until the block has ended.

    By handlers and not by a mask: a mask holds for one thread, and another would take the signal.
    """
    return DeferredSignals()


def _set_handlers(handlers: dict[signal.Signals, Any]) -> None:
    """Set each of them, also when one that came raises between two of them."""
    left = dict(handlers)
    try:
        for number, handler in handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)
            left.pop(number)
    finally:
        if left:
            _set_handlers(left)
