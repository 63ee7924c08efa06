"""Writing one stream into an object of several storages at once: one that fails is dropped, the others go on."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial

from django_cfg.backup.errors import BackupError, StorageError
from django_cfg.backup.pipeline.stream import Interruptible, Writable
from django_cfg.backup.process.threads import start_thread
from django_cfg.backup.storage.base import Storage

_AHEAD = 8 << 20  # bytes that wait for one storage: the slowest one sets the pace of all


class FanOut:
    """What is written goes to all storages. It fails when all of them have failed, with the error of the first.

    :ivar failures: by the name of the storage, why it was dropped.
    """

    def __init__(self, storages: Mapping[str, Storage], key: str, expected_size: int) -> None:
        self.failures: dict[str, Exception] = {}
        self._lanes = {name: _Lane(storage, key, expected_size) for name, storage in storages.items()}

    def open(self) -> None:
        """Wait until each storage takes the object, or refuses it."""
        for lane in self._lanes.values():
            lane.wait_until_open()
        self._drop_failed()

    @property
    def published(self) -> list[str]:
        """The names of the storages that hold the object."""
        return [name for name, lane in self._lanes.items() if lane.is_published]

    def write(self, block: bytes) -> int:
        block = bytes(block)  # a buffer would be another one's by the time it is written
        for lane in self._lanes.values():
            lane.put(block)
        self._drop_failed()
        return len(block)

    def interrupt(self) -> None:
        """End all writing, from any thread; nothing is published."""
        for lane in self._lanes.values():
            lane.abort()

    def finish(self) -> None:
        """Publish the object in all storages that are left."""
        for lane in self._lanes.values():
            lane.end()
        for lane in self._lanes.values():
            lane.join()
        self._drop_failed()

    def discard(self) -> None:
        """Leave nothing, also where the object is published already."""
        self.interrupt()
        for lane in self._lanes.values():
            lane.join()
            lane.withdraw()

    def _drop_failed(self) -> None:
        for name, lane in self._lanes.items():
            if lane.error and name not in self.failures:
                self.failures[name] = lane.error
        if len(self.failures) == len(self._lanes):
            raise self.failures[next(iter(self._lanes))]


@contextmanager
def publish_in_all(storages: Mapping[str, Storage], key: str, *, expected_size: int = 0) -> Iterator[FanOut]:
    """A writer of the object *key* in each of *storages*; see :meth:`Storage.publish` for one."""
    fan_out = FanOut(storages, key, expected_size)
    try:
        fan_out.open()
        yield fan_out
        fan_out.finish()
    except BaseException:
        fan_out.discard()
        raise


class _Aborted(Exception):
    """Nothing is to be published."""


class _Lane:
    """One storage, written to in a thread of its own."""

    def __init__(self, storage: Storage, key: str, expected_size: int) -> None:
        self._storage, self._key = storage, key
        self.is_published = False
        self.error: Exception | None = None
        self._opened = threading.Event()  # or it has failed
        self._waiting: deque[bytes] = deque()
        self._bytes = 0  # that wait
        self._is_complete = self._is_aborted = self._has_ended = False
        self._changed = threading.Condition()
        self._sink: Writable | None = None
        self._thread: threading.Thread | None = None
        try:
            self._thread = start_thread(partial(copy_context().run, self._run, expected_size), "backup-place")
        except BackupError as error:
            self.error, self._has_ended = error, True
            self._opened.set()

    def wait_until_open(self) -> None:
        """Wait until the storage takes the object or refuses it."""
        self._opened.wait()

    def put(self, block: bytes) -> None:
        """Hand over *block*; wait while too much waits already."""
        with self._changed:
            self._changed.wait_for(lambda: self._bytes < _AHEAD or self._has_ended or self._is_aborted)
            if not self._has_ended:
                self._waiting.append(block)
                self._bytes += len(block)
                self._changed.notify_all()

    def end(self) -> None:
        """Say that all is handed over."""
        with self._changed:
            self._is_complete = True
            self._changed.notify_all()

    def abort(self) -> None:
        with self._changed:
            self._is_aborted = True
            self._changed.notify_all()
        if (sink := self._sink) and isinstance(sink, Interruptible):
            sink.interrupt()

    def join(self) -> None:
        if self._thread:
            self._thread.join()

    def withdraw(self) -> None:
        if self.is_published:
            with suppress(StorageError):  # it is away; what is left has no manifest
                self._storage.delete(self._key)

    def _run(self, expected_size: int) -> None:
        try:
            with self._storage.publish(self._key, expected_size=expected_size) as sink:
                self._sink = sink
                self._opened.set()
                for block in self._blocks():
                    sink.write(block)
            self.is_published = True
        except _Aborted:
            pass
        except Exception as error:  # noqa: BLE001  it is this storage's alone, and reported as such
            self.error = error
        finally:
            with self._changed:
                self._has_ended, self._sink = True, None
                self._waiting.clear()
                self._changed.notify_all()
            self._opened.set()

    def _blocks(self) -> Iterator[bytes]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_complete or self._is_aborted)
                if self._is_aborted:
                    raise _Aborted
                if not self._waiting:
                    return
                block = self._waiting.popleft()
                self._bytes -= len(block)
                self._changed.notify_all()
            yield block
