"""The rules of retention, case by case: see retention_cases.txt."""

from __future__ import annotations

import random

import pytest

from tests.support.retention_cases import TABLE, Case, read_cases

CASES = list(read_cases(TABLE.read_text(encoding="utf-8")))


def test_the_table_is_read_whole() -> None:
    """No case, line or arrow is lost on the way."""
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert len(CASES) >= 40
    assert len({case.title for case in CASES}) == len(CASES)
    told = sum(line.startswith("!") for case in CASES for line in case.expected)
    assert len(lines) == sum(2 + len(case.backups) for case in CASES) + told


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_what_is_kept_and_why(case: Case) -> None:
    assert case.decided() == case.expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_the_order_of_the_listing_is_of_no_matter(case: Case) -> None:
    """Storages list as they like."""
    mixed = list(zip(case.backups, case.expected, strict=False))
    random.Random(case.title).shuffle(mixed)
    backups = tuple(backup for backup, _ in mixed)
    expected = dict(zip(case.backups, case.expected, strict=False))
    decided = Case(case.title, case.setting, backups, ()).decided()
    if len(case.expected) < len(case.backups):  # refused
        assert decided == case.expected
    else:
        told = case.expected[len(case.backups) :]
        assert decided == (*(expected[backup] for backup in backups), *told)
