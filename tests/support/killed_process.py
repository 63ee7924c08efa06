"""A process of its own for something that is killed, with all its children, at some moment."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from tests.support.django_project import Site


def run_and_kill(site: Site, act: Callable[[], object], after: float | None) -> float:
    """Do it in a process of its own, killed *after* so many seconds; None: not at all. How many it ran."""
    site.close()
    begun = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        with suppress(BaseException):
            act()
            os._exit(0)
        os._exit(1)
    if after is not None:
        time.sleep(after)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert after is not None or status == 0, "the process failed without being killed"
    return time.monotonic() - begun
