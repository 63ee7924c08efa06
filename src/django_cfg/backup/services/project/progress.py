"""How a service reports its progress. It prints nothing; the commands and the admin do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    def say(self, text: str) -> None:
        """A step begins or has ended."""

    def begin(self, label: str, total: int) -> None:
        """Bytes begin to flow, *total* as far as is known; 0 when it is not."""

    def advance(self, count: int) -> None:
        """*count* more bytes have passed."""

    def end(self) -> None:
        """They have stopped flowing."""


class _Silent:
    def say(self, text: str) -> None:
        pass

    def begin(self, label: str, total: int) -> None:
        pass

    def advance(self, count: int) -> None:
        pass

    def end(self) -> None:
        pass


SILENT: Progress = _Silent()


@contextmanager
def byte_progress(progress: Progress, label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Bytes flow while the block runs: call what it yields with the bytes that have just passed."""
    progress.begin(label, total)
    try:
        yield progress.advance
    finally:
        progress.end()
