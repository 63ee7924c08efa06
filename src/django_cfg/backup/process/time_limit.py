"""Limits of time: of a run in place, which may take as long as a job on a queue, and of a job, which RQ limits."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from django_cfg.backup.errors import DumpFailed

_RAISE = "If it needs longer, raise BackupScheduleConfig.job_timeout."


class _TimeIsUp(BaseException):
    """Like an interrupt: no step on the way may take it for an error of its own."""


@contextmanager
def limit_time(seconds: int, what: str) -> Iterator[None]:
    """End the block with an exception when it takes longer; its child processes end as after any other.

    Only in the main thread, where Python runs handlers of signals, and only where no other timer runs, as RQ's does.

    :raises DumpFailed: *what* has been ended.
    """
    if not _is_main_thread() or _is_timer_running():
        yield
        return
    with _ended_by_alarm(f"The {what} took longer than {seconds} s and was ended. {_RAISE}"):
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def queue_limit(what: str) -> Iterator[None]:
    """In a job of RQ, let the timer of its worker end the block as :func:`limit_time` does.

    What RQ raises is an Exception, which a receiver of a signal, say, would take for an error of its own and log.

    :raises DumpFailed: *what* has been ended.
    """
    if not _is_main_thread() or not _is_timer_running():
        yield
        return
    with _ended_by_alarm(f"The {what} reached the time limit of the queue and was ended. {_RAISE}"):
        yield


@contextmanager
def _ended_by_alarm(message: str) -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise _TimeIsUp(message)

    before = signal.getsignal(signal.SIGALRM)
    try:
        signal.signal(signal.SIGALRM, ring)
        yield
    except _TimeIsUp as end:
        raise DumpFailed(str(end)) from None
    finally:
        signal.signal(signal.SIGALRM, before)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _is_timer_running() -> bool:
    return signal.getitimer(signal.ITIMER_REAL)[0] > 0
