"""Storages that do what a test needs: around a real one, or quick enough to try a great many histories in."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from django_cfg.backup.errors import NameTaken, StorageError
from django_cfg.backup.pipeline.stream import Readable, Writable
from django_cfg.backup.storage.base import Storage, StoredObject
from django_cfg.backup.storage.local import LocalStorage


class Recording(LocalStorage):
    """Remembers what was done to it, in order; fails at *failing*, a step of that record."""

    def __init__(self, root: Path, failing: str = "") -> None:
        super().__init__(root)
        self.steps: list[str] = []
        self._failing = failing

    @contextmanager
    def publish(self, key: str, *, expected_size: int = 0) -> Iterator[Writable]:
        with super().publish(key, expected_size=expected_size) as sink:
            yield sink
            self._step(f"publish {key}")

    @contextmanager
    def open(self, key: str) -> Iterator[Readable]:
        self._step(f"open {key}")
        with super().open(key) as source:
            yield source

    def delete(self, key: str) -> None:
        self._step(f"delete {key}")
        super().delete(key)

    def _step(self, step: str) -> None:
        self.steps.append(step)
        if self._failing and self._failing in step:
            raise StorageError(f"Could not {step}: the storage is gone.")


class Stopped(BaseException):
    """The power is cut."""


class Memory(Storage):
    """Objects in memory. After *steps* more steps every call fails, until *steps* is set again."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.steps: float = math.inf
        self._lock = threading.Lock()

    @property
    def location(self) -> str:
        return "memory"

    @contextmanager
    def publish(self, key: str, *, expected_size: int = 0) -> Iterator[Writable]:
        self._step()
        sink = io.BytesIO()
        yield sink
        if key in self.objects:
            raise NameTaken.of(key, self.location)
        self.objects[key] = sink.getvalue()

    @contextmanager
    def open(self, key: str) -> Iterator[Readable]:
        self._step()
        if key not in self.objects:
            raise StorageError(f"{key} is missing in {self.location}.")
        yield io.BytesIO(self.objects[key])

    def stat(self, key: str) -> StoredObject | None:
        self._step()
        content = self.objects.get(key)
        return None if content is None else StoredObject(key, len(content), datetime.now(UTC))

    def list(self) -> Iterator[StoredObject]:
        return (found for key in tuple(self.objects) if (found := self.stat(key)))

    def delete(self, key: str) -> None:
        self._step()
        self.objects.pop(key, None)

    def is_taken(self, name: str) -> bool:
        self._step()
        return any(key.startswith(f"{name}.") for key in self.objects)

    def _step(self) -> None:
        with self._lock:
            self.steps -= 1
            if self.steps < 0:
                raise Stopped
