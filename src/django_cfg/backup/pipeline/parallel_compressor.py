"""Compression at the speed of the dump: blocks are compressed in parallel, each into a stream of its own.

Such streams joined are one file to every reader of gzip (members; RFC 1952, 2.2) and of Zstandard (frames; RFC 8878,
3.1). The compressing threads run at a lower priority, so that the dump tool, its server and the site go first.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Self

from django_cfg.backup.pipeline.stream import Writable
from django_cfg.backup.process.pipes import BLOCK

_UNDER_WAY = 10  # blocks; each takes 1.5 MB, and fewer make the stream wait more often
_NICE = 10  # of the threads that compress


def threads() -> int:
    """Return how many threads compression may use: one per core this process may run on, at most four."""
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 4)


class ParallelCompressor:
    """A writer that passes what *compress_block* makes of each block on to *sink*; leaving it writes what is left."""

    def __init__(self, sink: Writable, compress_block: Callable[[bytes], bytes]) -> None:
        self._sink = sink
        self._compress_block = compress_block
        self._threads = ThreadPoolExecutor(threads(), thread_name_prefix="compress", initializer=_lower_priority)
        self._under_way: deque[Future[bytes]] = deque()  # in the order of the stream
        self._held: list[bytes] = []
        self._held_size = 0
        self._is_empty = True

    def write(self, block: bytes) -> int:
        self._held.append(block)
        self._held_size += len(block)
        if self._held_size >= BLOCK:
            self._compress_held()
        return len(block)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                if self._held or self._is_empty:  # an empty file would be the stream of no compressor
                    self._compress_held()
                self._pass_on(lambda: True)
        finally:
            self._threads.shutdown(cancel_futures=True)

    def _compress_held(self) -> None:
        self._pass_on(lambda: self._under_way[0].done() or len(self._under_way) >= _UNDER_WAY)
        self._under_way.append(self._threads.submit(self._compress_block, b"".join(self._held)))
        self._held, self._held_size, self._is_empty = [], 0, False

    def _pass_on(self, due: Callable[[], bool]) -> None:
        """Write the first blocks to the sink, for as long as there are any and they are *due*."""
        while self._under_way and due():
            self._sink.write(self._under_way.popleft().result())


def _lower_priority() -> None:
    """Lower the priority of this thread; only Linux has one per thread."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, max(_NICE, os.getpriority(os.PRIO_PROCESS, 0)))
