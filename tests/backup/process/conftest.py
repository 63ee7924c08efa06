"""Assert that tests of processes leave neither a thread nor a child process behind."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _tidy(nothing_left_running: None) -> None:
    """In every test of this folder."""
