"""gzip as fast as the dump comes: blocks compressed beside each other, each a gzip member of its own.

Members joined are one gzip file to every reader of the format (RFC 1952, 2.2). Two compressors share the work.
ISA-L is faster than a dump tool and leaves 1.06 times what `gzip -6` does; libdeflate takes three to four times as long
and leaves a little less than `gzip -6` (measured on the rows of benchmarks/). A block goes to libdeflate where a core
has nothing else to do, so that it costs nobody time. A dump tool, its server and we keep two cores busy: there one
block in five does, which brings the whole below 1.05 times, and none where the stream mostly waits for us, as SQLite's
copies do.

The threads that compress stand back for everybody else: the dump tool, its server and the site go first.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from importlib import import_module
from time import monotonic
from types import TracebackType
from typing import Any, Self

from django_cfg.backup.pipeline.stream import Writable
from django_cfg.backup.process.pipes import BLOCK

_ISAL_LEVEL = 2  # level 3 takes up to 1.8 times as long, for 0.4 % (measured)
_LIBDEFLATE_LEVEL = 3
_ZLIB_LEVEL = 6
_GZIP_HEADER = 31  # zlib's window bits for a gzip header around its largest window
_BUSY = 2  # cores that the dump tool, its server and we keep busy
_EVERY = 5  # of so many blocks one is pressed hard where no core is to spare
# Of its time the stream may wait for us, else none is. Dumps of servers wait for 0.1 to 0.45, SQLite's copies for 0.6
# to 0.7 (measured).
_PATIENCE = 0.55
_UNDER_WAY = 10  # blocks; each takes 1.5 MB, and fewer make the stream wait more often
_NICE = 10  # of the threads that compress

Compressor = Callable[[bytes], bytes]


def threads() -> int:
    """How many threads compression may use: one a core this process may run on, at most four."""
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 4)


class GzipMembers:
    """A writer of gzip into *sink*; leaving the block writes what is left."""

    def __init__(self, sink: Writable) -> None:
        self._sink = sink
        self._threads = ThreadPoolExecutor(threads(), thread_name_prefix="gzip", initializer=_stand_back)
        self._under_way: deque[Future[bytes]] = deque()  # in the order of the stream
        self._held: list[bytes] = []
        self._held_size = 0
        self._begun = 0
        self._since_pressed = _EVERY  # blocks
        self._opened = monotonic()  # seconds
        self._waited = 0.0  # seconds that the stream has waited for the compressors

    def write(self, block: bytes) -> int:
        self._held.append(block)
        self._held_size += len(block)
        if self._held_size >= BLOCK:
            self._begin()
        return len(block)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._threads.shutdown(cancel_futures=True)

    def _begin(self) -> None:
        self._pass_on(lambda: self._under_way[0].done())
        compress = _small if self._may_press() else _fast
        self._since_pressed = 1 if compress is _small else self._since_pressed + 1
        self._under_way.append(self._threads.submit(compress, b"".join(self._held)))
        self._begun += 1
        self._held, self._held_size = [], 0
        if len(self._under_way) >= _UNDER_WAY:
            self._wait_for(self._under_way[0])
        self._pass_on(lambda: len(self._under_way) >= _UNDER_WAY)

    def _finish(self) -> None:
        if self._held or not self._begun:  # an empty stream is one empty member
            self._begin()
        self._pass_on(lambda: True)

    def _may_press(self) -> bool:
        if threads() > _BUSY:
            return sum(not block.done() for block in self._under_way) < threads()
        return self._since_pressed >= _EVERY and self._waited < _PATIENCE * (monotonic() - self._opened)

    def _wait_for(self, block: Future[bytes]) -> None:
        began = monotonic()
        wait([block])
        self._waited += monotonic() - began

    def _pass_on(self, due: Callable[[], bool]) -> None:
        """Hand the first blocks to the sink, as long as there are some and they are *due*."""
        while self._under_way and due():
            self._sink.write(self._under_way.popleft().result())


def _stand_back() -> None:
    """Linux alone knows the priority of a thread."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, max(_NICE, os.getpriority(os.PRIO_PROCESS, 0)))


def _by_zlib(block: bytes) -> bytes:
    return zlib.compress(block, _ZLIB_LEVEL, _GZIP_HEADER)


def _by_isal() -> Compressor:
    try:
        isal: Any = import_module("isal.igzip_lib")
    except ImportError:  # no wheel for this processor
        return _by_zlib
    memory = isal.MEM_LEVEL_EXTRA_LARGE  # so large that it is given back each time: less in all (91 MB, not 102)
    return lambda block: bytes(isal.compress(block, _ISAL_LEVEL, isal.COMP_GZIP, memory))


def _by_libdeflate() -> Compressor:
    try:
        libdeflate: Any = import_module("deflate")
    except ImportError:
        return _by_isal()
    return lambda block: bytes(libdeflate.gzip_compress(block, _LIBDEFLATE_LEVEL))


_fast, _small = _by_isal(), _by_libdeflate()
