"""Storing a dump: each of its streams becomes an archive, all of them at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from contextvars import copy_context

from django_cfg.backup.config.backup import Compression
from django_cfg.backup.engines.base import Dump
from django_cfg.backup.pipeline.archive import Packed, pack
from django_cfg.backup.pipeline.encryption.encrypt import Encryptor
from django_cfg.backup.pipeline.stream import Interruptible, OnProgress, Writable
from django_cfg.backup.services.creation.targets import Targets

_REPORT_EVERY = 0.5  # seconds


@contextmanager
def store_dump(
    dump: Dump, targets: Targets, keys: Sequence[str], compression: Compression, encryptor: Encryptor
) -> Iterator[Callable[[OnProgress], list[Packed]]]:
    """Store the streams of *dump* under *keys*, one for each, when what is yielded is called.

    The archives appear when the block ends without an error; after one none is left.
    """
    try:
        with ExitStack() as opened:
            # One of them may hold nearly all: a share of the size would be no upper estimate.
            sinks = [opened.enter_context(targets.publish(key, dump.expected_size)) for key in keys]

            def store(advance: OnProgress) -> list[Packed]:
                if len(sinks) == 1:
                    return [pack(dump.stream, sinks[0], compression, advance, encryptor)]
                return _Workers(dump, sinks, compression, encryptor, advance).pack()

            yield store
    except BaseException:
        targets.withdraw()
        raise


class _Workers:
    """Packs the first stream in this thread, and each other one in a thread of its own; the first error ends all."""

    def __init__(
        self, dump: Dump, sinks: Sequence[Writable], compression: Compression, encryptor: Encryptor, advance: OnProgress
    ) -> None:
        self._dump, self._sinks = dump, sinks
        self._compression, self._encryptor, self._advance = compression, encryptor, advance
        self._failures: list[BaseException] = []
        self._moved, self._lock = 0, threading.Lock()  # bytes that have not been reported

    def pack(self) -> list[Packed]:
        dump, (sink, *others) = self._dump, self._sinks
        with ThreadPoolExecutor(len(others), thread_name_prefix="dump") as threads:
            futures = [
                threads.submit(copy_context().run, pack, stream, other, self._compression, self._note, self._encryptor)
                for stream, other in zip(dump.row_streams, others, strict=True)
            ]
            for future in futures:
                future.add_done_callback(self._end_on_failure)
            try:
                first = pack(dump.stream, sink, self._compression, self._report, self._encryptor)
                while wait(futures, _REPORT_EVERY).not_done:
                    self._report(0)
                return [first, *(future.result() for future in futures)]
            except BaseException:
                failures = list(self._failures)  # before the first one ends the others
                self._end(futures)
                if failures:
                    raise failures[0] from None
                raise

    def _note(self, count: int) -> None:
        with self._lock:
            self._moved += count

    def _report(self, count: int) -> None:
        """Report from the main thread alone: that is where a run is cancelled."""
        with self._lock:
            count, self._moved = count + self._moved, 0
        self._advance(count)

    def _end_on_failure(self, future: Future[Packed]) -> None:
        if error := future.exception():
            self._failures.append(error)
            self._dump.kill()

    def _end(self, futures: Sequence[Future[Packed]]) -> None:
        self._dump.kill()
        for sink in self._sinks:
            if isinstance(sink, Interruptible):
                sink.interrupt()
        wait(futures)
