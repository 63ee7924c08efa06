"""A run in place may take as long as a job on a queue, and no longer: what hangs would keep all others waiting."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from django_cfg.backup.errors import DumpFailed


class _TimeIsUp(BaseException):
    """Like an interrupt: no step on the way may take it for an error of its own."""


@contextmanager
def limit_time(seconds: int, what: str) -> Iterator[None]:
    """End the block with an exception when it takes longer; its child processes end as after any other.

    Only in the main thread, where Python runs handlers of signals, and only where no other timer runs, as RQ's does.

    :raises DumpFailed: *what* has been ended.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise _TimeIsUp(
            f"The {what} took longer than {seconds} s and was ended. If it needs longer, raise "
            "BackupScheduleConfig.job_timeout."
        )

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except _TimeIsUp as end:
        raise DumpFailed(str(end)) from None
    finally:
        signal.signal(signal.SIGALRM, before)
