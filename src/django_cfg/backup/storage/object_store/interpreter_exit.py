"""Ending the process in order.

obstore's threads enter Python for moments: to hand over an answer, and to give back the memory of what was sent. One
that is about to when the interpreter ends aborts the process, before Python 3.14: exit code 134 after a good backup
(seen: 5 of 100 times). So the end waits for them; they need microseconds.
"""

from __future__ import annotations

import atexit
import sys
import threading
import time

_PATIENCE = 2.0  # seconds
_GIVEN_UP = 0.2  # seconds; it is not reported when a request that was cancelled is gone

_lock = threading.Lock()
_lent: list[memoryview] = []
_has_cancelled = threading.Event()


def lend(block: bytes) -> memoryview:
    """*block* for obstore, which gives it back when it has been sent."""
    view = memoryview(block)
    with _lock:
        _lent[:] = [view, *filter(_is_out, _lent)]
    return view


def cancelled() -> None:
    """Requests were cancelled."""
    _has_cancelled.set()


def _is_out(view: memoryview) -> bool:
    try:
        view.release()
    except BufferError:
        return True
    return False


def _in_python() -> set[int]:
    """The threads that run some Python and that ``threading`` does not know."""
    return sys._current_frames().keys() - {thread.ident or 0 for thread in threading.enumerate()}


def _leave() -> None:
    if _has_cancelled.is_set():
        time.sleep(_GIVEN_UP)
    end = time.monotonic() + _PATIENCE
    while (any(map(_is_out, _lent)) or _in_python() - _strangers) and time.monotonic() < end:
        time.sleep(0.001)


_strangers = frozenset(_in_python())  # here before obstore: a server's or a test runner's
atexit.register(_leave)
