"""gzip at the speed of the dump: blocks are compressed in parallel, each a gzip member of its own.

Members joined are one gzip file to every reader of the format (RFC 1952, 2.2). ISA-L is faster than a dump tool and
writes 1.06 times the bytes of ``gzip -6`` (measured on the rows of benchmarks/). The compressing threads run at a lower
priority, so that the dump tool, its server and the site go first.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from types import TracebackType
from typing import Any, Self

from django_cfg.backup.pipeline.stream import Writable
from django_cfg.backup.process.pipes import BLOCK

_ISAL_LEVEL = 2  # level 3 takes up to 1.8 times as long, for 0.4 % (measured)
_ZLIB_LEVEL = 6
_GZIP_HEADER = 31  # zlib's window bits for a gzip header around its largest window
_UNDER_WAY = 10  # blocks; each takes 1.5 MB, and fewer make the stream wait more often
_NICE = 10  # of the threads that compress


def threads() -> int:
    """Return how many threads compression may use: one per core this process may run on, at most four."""
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 4)


class ParallelGzip:
    """A writer of gzip into *sink*; leaving the block writes what is left."""

    def __init__(self, sink: Writable) -> None:
        self._sink = sink
        self._threads = ThreadPoolExecutor(threads(), thread_name_prefix="gzip", initializer=_lower_priority)
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
                if self._held or self._is_empty:  # an empty stream is one empty member
                    self._compress_held()
                self._pass_on(lambda: True)
        finally:
            self._threads.shutdown(cancel_futures=True)

    def _compress_held(self) -> None:
        self._pass_on(lambda: self._under_way[0].done() or len(self._under_way) >= _UNDER_WAY)
        self._under_way.append(self._threads.submit(_compress, b"".join(self._held)))
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


def _by_zlib(block: bytes) -> bytes:
    return zlib.compress(block, _ZLIB_LEVEL, _GZIP_HEADER)


def _compressor() -> Callable[[bytes], bytes]:
    try:
        isal: Any = import_module("isal.igzip_lib")
    except ImportError:  # no wheel for this processor
        return _by_zlib
    memory = isal.MEM_LEVEL_EXTRA_LARGE  # so large that it is given back each time: less in all (91 MB, not 102)
    return lambda block: bytes(isal.compress(block, _ISAL_LEVEL, isal.COMP_GZIP, memory))


_compress = _compressor()
