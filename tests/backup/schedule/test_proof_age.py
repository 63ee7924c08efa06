"""Missing proofs are reported, even if retention keeps backups for less time than a proof may take."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from django_cfg.backup.manifest import EngineFacts, Manifest
from django_cfg.backup.services.project.project import current_project
from tests.support.backup_status import prove, put, status
from tests.support.django_project import Site
from tests.support.manifests import make_manifest
from tests.support.stopped_clock import START, Clock

WEEKLY = {"cron": "0 4 * * 0"}  # START is a Monday
WEEK = {"keep_daily": 7, "keep_weekly": 0, "keep_monthly": 0}


def wanted(site: Site, retention: dict[str, int] | None = None, **verification: Any) -> None:
    site.configure(
        schedule={"enabled": False},
        retention=retention or {},
        verification={"enabled": True, "schedule": WEEKLY, **verification},
    )


def test_a_missed_first_drill_is_a_problem(site: Site, time: Clock) -> None:
    """After an hour of grace; Sunday 4:00 in Berlin is 2:00 UTC."""
    wanted(site)
    put(site, START)
    time.now = datetime.fromisoformat("2026-06-07T02:59:00+00:00")
    assert status(site)[0] == 0
    time.now += timedelta(minutes=2)
    code, source = status(site)
    assert code == 4
    assert "none of its backups is proved, and a drill was due" in source["problems"][0]


@pytest.mark.parametrize(
    ("retention", "verification"),
    [
        (WEEK, {"schedule": {"cron": "0 4 1 * *"}}),
        (WEEK, {"schedule": {"enabled": False}}),
        ({"keep_daily": 1, "keep_weekly": 0, "keep_monthly": 0}, {}),
    ],
    ids=["drilled monthly", "drilled elsewhere", "one is kept"],
)
def test_retention_does_not_hide_missing_proofs(
    site: Site, time: Clock, retention: dict[str, int], verification: dict[str, Any]
) -> None:
    """On every day of a year of backups of which only the last days are kept."""
    wanted(site, retention, **verification)
    for day in range(10):
        time.now = START + timedelta(days=365 + day)
        kept = [put(site, time.now - timedelta(days=ago, hours=1)) for ago in range(retention["keep_daily"])]
        assert status(site)[0] == 4
        for manifest in kept:
            (site.backups / manifest.key).unlink()
            (site.backups / manifest.archive_key).unlink()


def test_a_new_project_has_time_until_its_first_drill(site: Site, time: Clock) -> None:
    wanted(site)
    for day in range(6):
        time.now = START + timedelta(days=day)
        put(site, time.now)
        assert status(site)[0] == 0


def test_a_proof_is_valid_for_the_configured_days(site: Site, time: Clock) -> None:
    """However many slots have passed."""
    wanted(site, max_proof_age_days=20)
    proof = prove(site, put(site, START), succeeded=True)
    time.now = proof.at + timedelta(days=20)
    assert status(site)[0] == 0
    time.now += timedelta(hours=1)
    assert "the last proof is 20 days old, and max_proof_age_days is 20" in status(site)[1]["problems"][0]


class TestKindsThatAreNotDrilled:
    def put(self, site: Site, **values: Any) -> Manifest:
        facts = EngineFacts(
            vendor="postgresql", server_version="15", tool="pg_dump", tool_version="15", format="pgdump"
        )
        pattern = make_manifest()
        return put(site, START, engine=facts, tables=pattern.tables, **values)

    @pytest.mark.parametrize(("partial", "code"), [(True, 0), (False, 4)])
    def test_no_proof_is_expected_of_partial_postgresql_backups(
        self, site: Site, time: Clock, partial: bool, code: int
    ) -> None:
        """They can only be restored into an existing database."""
        wanted(site)
        self.put(site, partial=partial)
        time.advance(days=40)
        found, source = status(site)
        assert found == code
        assert source["provable_here"] is not partial

    def test_no_proof_is_expected_of_an_unknown_vendor(self, site: Site, time: Clock) -> None:
        wanted(site)
        facts = EngineFacts(vendor="oracle", server_version="", tool="", tool_version="", format="sql")
        put(site, START, engine=facts, partial=True)
        assert status(site)[0] == 0
        assert current_project().config.verification.enabled


def test_without_a_retention_only_the_first_drill_and_the_limit_count(site: Site, time: Clock) -> None:
    """All backups are kept, so it is known that none was proved."""
    site.configure(
        schedule={"enabled": False},
        retention={"enabled": False},
        verification={"enabled": True, "schedule": {"enabled": False}, "max_proof_age_days": 20},
    )
    put(site, START)
    time.now = START + timedelta(days=20)
    assert status(site)[0] == 0
    time.now += timedelta(hours=1)
    assert "none of its backups is proved" in status(site)[1]["problems"][0]
