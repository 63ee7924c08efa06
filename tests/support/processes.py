"""What runs: threads and child processes of this process, and processes by their number."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def children() -> set[int]:
    """The child processes of this process, ended but unreaped ones too."""
    found: set[int] = set()
    for path in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        with suppress(OSError):  # the thread has just ended
            found.update(map(int, path.read_text().split()))
    return found


def threads() -> set[threading.Thread]:
    return set(threading.enumerate())


def is_running(pid: int) -> bool:
    """Whether the process *pid* still runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


def wait_until(condition: Callable[[], T], seconds: float = 20) -> T:
    """What *condition* answers as soon as that is true; fail after *seconds*."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < end, f"it did not come true within {seconds} s"
        time.sleep(0.01)
    return answer
