"""A receiver of ``restore_checked`` for the length of a block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django_cfg.backup.signals import restore_checked


@contextmanager
def received(act: Callable[..., None]) -> Iterator[None]:
    restore_checked.connect(act)
    try:
        yield
    finally:
        restore_checked.disconnect(act)
