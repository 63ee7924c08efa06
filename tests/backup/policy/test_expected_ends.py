"""When a backup goes: what the pages say is the day on which a plan drops it, one backup being made every day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from django_cfg.backup.config.backup import BackupRetentionConfig
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.policy.retention import Scope, Sidecars, expected_ends, plan
from tests.support.manifests import make_manifest

SCOPE = Scope("tests", "test", frozenset({"default"}))
PATTERN = make_manifest()


def backup(day: date, zone: ZoneInfo, number: int = 0, **changes: object) -> Manifest:
    """The backup of *day*, noon in *zone*; *number* hours later."""
    at = datetime(day.year, day.month, day.day, 12 + number, tzinfo=zone).astimezone(UTC)
    return PATTERN.model_copy(update={"name": f"{day}-{number}", "started_at": at, **changes})


def simulated(past: list[Manifest], policy: BackupRetentionConfig, zone: ZoneInfo, today: date) -> dict[str, date]:
    """Return when each of *past* is pruned, if a backup is made each day from now on."""
    stored, ends = list(past), {}
    day = today + timedelta(days=max(m.started_at.astimezone(zone).date() for m in past) >= today)
    while any(manifest in past for manifest in stored):
        made = backup(day, zone)
        stored.append(made)
        dropped = plan(stored, Sidecars(), policy, made.started_at, zone, SCOPE).due
        ends.update({manifest.name: day for manifest in dropped if manifest in past})
        stored = [manifest for manifest in stored if manifest not in dropped]
        day += timedelta(days=1)
    return ends


@given(
    ages=some.lists(some.integers(0, 15) | some.integers(0, 130), min_size=1, max_size=12, unique=True),
    twice=some.booleans(),
    today=some.dates(date(2026, 1, 1), date(2027, 12, 31)),
    zone=some.sampled_from([ZoneInfo("UTC"), ZoneInfo("Europe/Berlin"), ZoneInfo("Pacific/Apia")]),
    policy=some.builds(
        BackupRetentionConfig,
        keep_daily=some.integers(1, 8),
        keep_weekly=some.integers(0, 4),
        keep_monthly=some.integers(0, 3),
    ),
)
@settings(max_examples=60, deadline=None, database=None)
def test_a_backup_goes_on_the_day_that_is_said(
    ages: list[int], twice: bool, today: date, zone: ZoneInfo, policy: BackupRetentionConfig
) -> None:
    days = [today - timedelta(days=age) for age in ages]
    past = [backup(day, zone) for day in days] + ([backup(days[0], zone, 3)] if twice else [])
    expected = expected_ends(past, policy, zone, today)
    ends = simulated(past, policy, zone, today)
    first = min(ends.values())
    assert {name: expected.get(name, first) for name in ends} == ends


TUESDAY = date(2026, 6, 2)
UTC_ZONE = ZoneInfo("UTC")


@pytest.mark.parametrize(
    ("day", "end"),
    [
        pytest.param(TUESDAY, date(2026, 6, 9), id="of today: as a daily one; the week's newest is Sunday's"),
        pytest.param(date(2026, 5, 31), date(2026, 6, 22), id="a Sunday's: as the newest of its week"),
        pytest.param(date(2026, 5, 30), date(2026, 6, 6), id="a Saturday's: as a daily one"),
    ],
)
def test_examples(day: date, end: date) -> None:
    policy = BackupRetentionConfig(keep_daily=7, keep_weekly=4, keep_monthly=0)
    past = [backup(TUESDAY - timedelta(days=age), UTC_ZONE) for age in range(7)]
    assert expected_ends(past, policy, UTC_ZONE, TUESDAY)[f"{day}-0"] == end


def test_one_that_was_made_before_a_restore_has_no_day() -> None:
    """It goes with the daily ones around it; what the day is depends on other restores."""
    made = backup(TUESDAY, UTC_ZONE, trigger="before-restore")
    assert expected_ends([made], BackupRetentionConfig(), UTC_ZONE, TUESDAY) == {}


def test_each_database_counts_its_own_days() -> None:
    other = PATTERN.source.model_copy(update={"database": "other"})
    policy = BackupRetentionConfig(keep_daily=2, keep_weekly=0, keep_monthly=0)
    past = [backup(TUESDAY, UTC_ZONE), backup(TUESDAY - timedelta(days=9), UTC_ZONE, source=other)]
    ends = expected_ends(past, policy, UTC_ZONE, TUESDAY)
    assert ends == {"2026-06-02-0": date(2026, 6, 4), "2026-05-24-0": date(2026, 6, 3)}
