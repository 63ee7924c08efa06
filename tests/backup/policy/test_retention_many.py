"""A storage with years of backups of many databases: the plan is as right as that of one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from django_cfg.backup.config.backup import BackupRetentionConfig
from django_cfg.backup.manifest import Manifest, Source
from django_cfg.backup.policy.retention import Plan, Scope, Sidecars, plan
from tests.support.manifests import make_manifest

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


def test_of_10_000_backups_each_database_keeps_what_it_keeps_alone() -> None:
    made = planned([manifest for database in DATABASES for manifest in daily(database, 1000)])
    assert len(made.decisions) == 10_000
    assert len({decision.manifest.name for decision in made.decisions}) == 10_000
    # seven days from Monday, 1 June, back; the Sundays before of the weeks; the last days of April, May is a Sunday
    days = {0, 1, 2, 3, 4, 5, 6, 8, 15, 32}
    assert {manifest.name for manifest in made.kept} == {f"{name}_{day}" for name in DATABASES for day in days}
    alone = {manifest.name for database in DATABASES for manifest in planned(daily(database, 1000)).kept}
    assert {manifest.name for manifest in made.kept} == alone
