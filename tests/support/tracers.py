"""Threads that end before they begin, as CPython ends one while another thread installs its tracer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest


@contextmanager
def ending_threads(name: str, *, times: int) -> Iterator[list[str]]:
    """End the first *times* threads of this *name* at their start; yields a list of them."""
    ended: list[str] = []

    def trace(frame: FrameType, event: str, argument: object) -> None:
        thread = threading.current_thread().name
        if thread == name and len(ended) < times:
            ended.append(thread)
            raise RuntimeError("no tracer can be installed now")

    before = threading.gettrace()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", lambda arguments: None)
        threading.settrace(trace)
        try:
            yield ended
        finally:
            threading.settrace(before)
