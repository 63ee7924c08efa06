"""What runs: threads and child processes of this process, and processes by their number."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def children() -> set[int]:
    """The child processes of this process, ended but unreaped ones too."""
    return children_of(os.getpid())


def threads() -> set[threading.Thread]:
    return set(threading.enumerate())


def is_running(pid: int) -> bool:
    """Whether the process *pid* still runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


def children_of(pid: int) -> set[int]:
    found: set[int] = set()
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # the thread has just ended
            found.update(map(int, path.read_text().split()))
    return found


def is_watched(child: int, by: int) -> bool:
    """Whether the shell runs that ends the program *child* after its parent, the process *by*."""
    words: set[str] = set()
    for pid in children_of(by):
        with suppress(FileNotFoundError, ProcessLookupError):
            words.update(Path(f"/proc/{pid}/cmdline").read_text().split("\0"))
    return str(child) in words


class Stopwatch:
    """How long something takes on a machine that has time for it: what the threads of this process waited for a
    processor that others had (``/proc/PID/task/TID/schedstat``) is not counted."""

    def __init__(self) -> None:
        self._begun, self._delays = time.monotonic(), self._read_delays()

    @property
    def seconds(self) -> float:
        delays = (delay - self._delays.get(thread, 0) for thread, delay in self._read_delays().items())
        return time.monotonic() - self._begun - sum(delays) / 1e9

    @staticmethod
    def _read_delays() -> dict[str, int]:
        """Nanoseconds, by thread."""
        delays = {}
        for task in Path("/proc/self/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                delays[task.name] = int((task / "schedstat").read_text().split()[1])
        return delays


def wait_until(condition: Callable[[], T], seconds: float = 60) -> T:
    """What *condition* answers as soon as that is true; fail after *seconds*."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < end, f"it did not come true within {seconds} s"
        time.sleep(0.01)
    return answer


@contextmanager
def in_parallel(action: Callable[[], object]) -> Iterator[None]:
    """A block during which *action* is carried out by another thread, whose error is the block's."""
    errors: list[BaseException] = []

    def act() -> None:
        try:
            action()
        except BaseException as error:  # noqa: BLE001  raised again below
            errors.append(error)

    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if errors:
        raise errors[0]


@contextmanager
def suspended(pid: int) -> Iterator[None]:
    """A block during which the process does not run."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def child_running(program: str) -> int | None:
    """The process id of our own child that runs *program* on a database."""
    for pid in children():
        line = command_line(pid)
        if line.partition("\0")[0].endswith(f"/{program}") and ("--dbname" in line or "--defaults-file" in line):
            return pid
    return None


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
