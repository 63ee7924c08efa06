"""The rules of retention: the cases of retention_cases.txt, the calendar of docs/retention.md, and large histories."""

from __future__ import annotations

import random
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from django_cfg.backup.config.backup import BackupRetentionConfig
from django_cfg.backup.manifest import Manifest, Source
from django_cfg.backup.policy.retention import Plan, Scope, Sidecars, plan
from tests.support import retention_calendar as calendar_page
from tests.support.manifests import make_manifest
from tests.support.retention_cases import TABLE, Case, read_cases

CASES = list(read_cases(TABLE.read_text(encoding="utf-8")))


def test_the_table_of_cases_is_read_completely() -> None:
    """No case, line or arrow is lost."""
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert len(CASES) >= 40
    assert len({case.title for case in CASES}) == len(CASES)
    warnings = sum(line.startswith("!") for case in CASES for line in case.expected)
    assert len(lines) == sum(2 + len(case.backups) for case in CASES) + warnings


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_decisions_and_reasons(case: Case) -> None:
    assert case.decided() == case.expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_the_order_of_the_listing_does_not_matter(case: Case) -> None:
    """Storages list in any order."""
    mixed = list(zip(case.backups, case.expected, strict=False))
    random.Random(case.title).shuffle(mixed)
    backups = tuple(backup for backup, _ in mixed)
    expected = dict(zip(case.backups, case.expected, strict=False))
    decided = Case(case.title, case.setting, backups, ()).decided()
    if len(case.expected) < len(case.backups):  # refused
        assert decided == case.expected
    else:
        warnings = case.expected[len(case.backups) :]
        assert decided == (*(expected[backup] for backup in backups), *warnings)


PAGE = Path(__file__).parents[3] / "docs" / "retention.md"


def test_the_calendar_of_the_docs_matches_the_decisions() -> None:
    shown = re.search(r"<!-- calendar -->\n```text\n(.*?)\n```\n<!-- end -->", PAGE.read_text("utf-8"), re.DOTALL)
    assert shown
    assert shown[1] == calendar_page.render()


def test_the_next_night_of_the_docs_matches_the_decisions() -> None:
    before, after = calendar_page.decisions(), calendar_page.decisions(date(2025, 1, 16))
    assert [day for day, d in before.items() if d.keep and not after[day].keep] == [date(2025, 1, 9)]
    assert str(after[date(2025, 1, 15)]) == "one of 7 days: 2025-01-15"


def test_nightly_prunes_keep_the_same_backups_as_one_final_prune() -> None:
    left: list[Manifest] = []
    for tonight in calendar_page.nights(calendar_page.LAST):
        made = calendar_page.decide([*left, tonight])
        left = [decision.manifest for decision in reversed(made) if decision.keep]
    at_the_end = [day for day, decision in calendar_page.decisions().items() if decision.keep]
    assert [manifest.started_at.date() for manifest in reversed(left)] == at_the_end


NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
PATTERN = make_manifest()
DATABASES = [f"database{number}" for number in range(10)]


def daily(database: str, count: int) -> list[Manifest]:
    """Backups of the last *count* days at noon, newest first."""
    source = Source(project="tests", env="test", database=database)
    return [
        PATTERN.model_copy(
            update={"name": f"{database}_{day}", "source": source, "started_at": NOW - timedelta(days=day)}
        )
        for day in range(count)
    ]


def planned(manifests: list[Manifest]) -> Plan:
    policy = BackupRetentionConfig(keep_daily=7, keep_weekly=4, keep_monthly=3)
    return plan(manifests, Sidecars(), policy, NOW, ZoneInfo("UTC"), Scope("tests", "test", frozenset(DATABASES)))


def test_each_of_many_databases_is_decided_independently() -> None:
    made = planned([manifest for database in DATABASES for manifest in daily(database, 1000)])
    assert len(made.decisions) == 10_000
    assert len({decision.manifest.name for decision in made.decisions}) == 10_000
    # seven days from Monday, 1 June, back; the Sundays before of the weeks; the last days of April, May is a Sunday
    days = {0, 1, 2, 3, 4, 5, 6, 8, 15, 32}
    assert {manifest.name for manifest in made.kept} == {f"{name}_{day}" for name in DATABASES for day in days}
    alone = {manifest.name for database in DATABASES for manifest in planned(daily(database, 1000)).kept}
    assert {manifest.name for manifest in made.kept} == alone
