"""What all tests of the pipeline have to leave behind: nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.backup import running


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Whatever a test did, and however it failed, no thread and no child process outlives it."""
    threads, children = running.threads(), running.children()
    yield
    assert running.threads() <= threads
    assert running.children() <= children
