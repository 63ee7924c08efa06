"""Threads that are known to run."""

from __future__ import annotations

import threading
from collections.abc import Callable

from django_cfg.backup.errors import BackupError

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
