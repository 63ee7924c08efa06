"""Formatting of sizes and counts."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_cfg.backup.formatting import counted, elapsed, listed, megabytes, seconds_taken


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (76_320, "76,320 bytes"),
        (100_000, "0.1 MB"),
        (82_100_000, "82.1 MB"),
        (9_999_900_000, "9,999.9 MB"),
        (80_762_400_000, "80.8 GB"),
        (2_500_000_000_000, "2,500.0 GB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert megabytes(size) == text


def test_counts() -> None:
    assert [counted(number, "day") for number in (0, 1, 2_000)] == ["0 days", "1 day", "2,000 days"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "less than 0.1 s"), (0.0499, "less than 0.1 s"), (0.05, "0.1 s"), (1.25, "1.2 s"), (3600, "3600.0 s")],
)
def test_durations(seconds: float, text: str) -> None:
    assert seconds_taken(seconds) == text


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(seconds=-5), "less than 1 s"),
        (timedelta(seconds=99), "99 s"),
        (timedelta(seconds=100), "2 min"),
        (timedelta(minutes=99, seconds=29), "99 min"),
        (timedelta(minutes=100), "2 h"),
        (timedelta(hours=35, minutes=29), "35 h"),
        (timedelta(hours=36), "2 days"),
        (timedelta(days=20), "20 days"),
        (timedelta(days=21), "3 weeks"),
        (timedelta(days=400), "57 weeks"),
    ],
)
def test_lengths_of_time(span: timedelta, text: str) -> None:
    assert elapsed(span) == text


def test_lists_of_names() -> None:
    assert [listed(names, 2) for names in ((), ("a",), ("a", "b"), ("a", "b", "c"))] == [
        "",
        "a",
        "a, b",
        "a, b and 1 more",
    ]
