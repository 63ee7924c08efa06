"""A block in which permissions count."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

UNPRIVILEGED_UID = 65534


class Unprivileged(Protocol):
    def __call__(self) -> AbstractContextManager[None]: ...
