"""Steps that a signal may not cut in two."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)  # what ends us in order; the last, time limits
CANCEL = signal.SIGUSR1  # what a thread of ours sends to the main thread

_Trace = TracebackType | None


class CancelRequested(BaseException):
    """Somebody wants the block to end. Like KeyboardInterrupt it is no Exception, so that no step recovers from it."""

    def __init__(self, by: str) -> None:
        super().__init__(f"Cancelled by {by}.")
        self.by = by


class DeferredSignals:
    """A block at whose end a signal arrives that came in it and would end us. See :func:`defer_signals`.

    A class and no generator: what a signal raises while the block of a generator is entered leaves it unfinished.
    """

    def __init__(self, *, cancellable: bool = False) -> None:
        self._handlers: dict[signal.Signals, Any] = {}
        self._came: list[int] = []
        self._cancelling = threading.Lock()
        self._is_cancellable = cancellable
        self._previous: Any = None  # the handler of CANCEL outside of the block
        self.cancelled_by = ""
        self.allows_cancelling: Callable[[], bool] = lambda: True  # False: what is done now is not cut in two

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # the others get no signals
            previous = {number: signal.getsignal(number) for number in (*ENDING, CANCEL)}
            self._handlers = previous | ({CANCEL: self._raise_cancelled} if self._is_cancellable else {})
            self._previous = previous[CANCEL]
            try:
                self.defer()
            except BaseException:
                _set_handlers(previous)
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: _Trace) -> None:
        try:
            self._end_cancelling()
            self.deliver()
        except BaseException as ended:
            if isinstance(error, Exception):  # why the block failed, and what it has left behind
                for note in (str(error), *getattr(error, "__notes__", ())):
                    ended.add_note(note)
            raise

    def cancel(self, by: str) -> None:
        """End the block with :class:`CancelRequested` as soon as signals are allowed; from another thread.

        A block that is not in the main thread has to look at ``cancelled_by``.
        """
        with self._cancelling:
            if self._is_cancellable and not self.cancelled_by and self.allows_cancelling():
                self.cancelled_by = by
                if self._handlers and (main := threading.main_thread().ident):
                    signal.pthread_kill(main, CANCEL)

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

    def end_if_cancelled(self) -> None:
        """
        :raises CancelRequested: somebody has cancelled the block, and it may still end here.
        """
        if self.cancelled_by and self.allows_cancelling():
            raise CancelRequested(self.cancelled_by)

    def _end_cancelling(self) -> None:
        """A request that comes too late is forgotten."""
        with self._cancelling:
            self._is_cancellable = False
            self._came = [number for number in self._came if number != CANCEL or not self.cancelled_by]
            if self._handlers:
                self._handlers[CANCEL] = self._previous

    def _raise_cancelled(self, number: int, frame: FrameType | None) -> None:
        if self.cancelled_by:
            self.end_if_cancelled()
        elif callable(self._previous):
            self._previous(number, frame)

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


def defer_signals(*, cancellable: bool = False) -> DeferredSignals:
    """Let a signal that would end us wait until the block has ended.

    By handlers and not by a mask: a mask holds for one thread, and another would take the signal.

    :param cancellable: :meth:`DeferredSignals.cancel` ends the block. Blocks within it defer that, too.
    """
    return DeferredSignals(cancellable=cancellable)


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
