"""A clock that is stopped until a test moves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

START = datetime(2026, 6, 1, 12, 0, 30, tzinfo=UTC)


class Clock:
    """The time of the package, standing still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)
