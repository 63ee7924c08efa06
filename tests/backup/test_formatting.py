"""Formatting of sizes and counts."""

from __future__ import annotations

import pytest

from django_cfg.backup.formatting import counted, megabytes


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
