"""Storages that do what a test needs, around a real one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django_cfg.backup.errors import StorageError
from django_cfg.backup.pipeline.stream import Readable, Writable
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
