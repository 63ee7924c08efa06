"""Long work of SQLite in a thread of its own: a signal reaches us meanwhile, and any exception ends the work.

A statement that runs in the thread that takes the signals would keep Ctrl-C and SIGTERM waiting for its end.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager, suppress
from typing import TypeVar

T = TypeVar("T")
End = Callable[[], None]
_AGAIN = 0.02  # seconds; an interruption passes by a connection that is between two statements


class Stop:
    """Knows what ends the work, whatever it is at."""

    def __init__(self) -> None:
        self._ends: list[End] = []

    @contextmanager
    def by(self, end: End) -> Iterator[None]:
        """For the length of the block, calling *end* ends what goes on in it."""
        self._ends.append(end)
        try:
            yield
        finally:
            self._ends.remove(end)

    def __call__(self) -> None:
        for end in list(self._ends):
            with suppress(sqlite3.ProgrammingError):  # closed just now
                end()


Work = Callable[[Stop], T]


@contextmanager
def beside(work: Work[T]) -> Iterator[Future[T]]:
    """Do the *work* beside the block; one that is left by an exception ends it."""
    stop = Stop()
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(work, stop)
        try:
            yield done
        except BaseException:
            while not done.done():
                stop()
                wait_for([done], timeout=_AGAIN)
            raise


def carry_out(work: Work[T]) -> T:
    """What *work* gives, or raises."""
    with beside(work) as done:
        return done.result()
