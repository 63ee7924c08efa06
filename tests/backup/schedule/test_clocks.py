"""Clocks and time zones: backups from the future hide no problem, and the history stores UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup.models import Run
from django_cfg.backup.services.catalog.places import list_backups
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.schedule.tick import tick
from tests.support.backup_status import put, status
from tests.support.django_project import Site
from tests.support.notification_servers import Mailbox
from tests.support.stopped_clock import START, Clock

AHEAD = timedelta(days=30)


class TestFromTheFuture:
    def test_a_backup_from_the_future_does_not_hide_a_dead_scheduler(self, hourly: Site) -> None:
        """Its slot is in the future as well; the problem names the backup."""
        put(hourly, START - timedelta(hours=9))
        ahead = put(hourly, START + AHEAD, slot=START.replace(second=0) + AHEAD)
        code, source = status(hourly)
        assert (code, source["overdue"]) == (4, True)
        assert source["age_seconds"] == 9 * 60 * 60
        assert f"{ahead.name} is dated 2026-07-01 12:00 UTC, ahead of this clock" in source["problems"][1]

    def test_a_backup_from_the_future_is_a_problem_without_overdue_backups(self, hourly: Site) -> None:
        made = put(hourly, START)
        put(hourly, START + AHEAD)
        code, source = status(hourly)
        assert (code, source["overdue"], source["last_backup"]) == (4, False, made.name)
        assert len(source["problems"]) == 1

    def test_a_difference_of_minutes_is_no_problem(self, hourly: Site) -> None:
        put(hourly, START + timedelta(minutes=5))
        assert status(hourly)[0] == 0

    def test_a_tick_reports_overdue_backups_despite_one_from_the_future(
        self, hourly: Site, mailbox: Mailbox, time: Clock
    ) -> None:
        put(hourly, START - timedelta(hours=9))
        put(hourly, START + AHEAD)
        for _ in range(2):  # runs without a result, the first of them long ago
            run(slot=time.now.replace(second=0), queued_at=time.now, state="failed")
            time.advance(hours=1)
        run(slot=time.now.replace(second=0), queued_at=time.now, state="failed")
        tick()
        assert mailbox.subjects() == ["[Django] The backup of tests/test/default is overdue"]

    @pytest.mark.parametrize("where", ["storage", "history"])
    def test_an_interval_does_not_wait_for_a_backup_from_the_future(self, hourly: Site, where: str) -> None:
        hourly.configure(schedule={"interval_hours": 6})
        if where == "storage":
            put(hourly, START + AHEAD)
        else:
            run(started_at=START + AHEAD, state="succeeded")
        before = len(list_backups())
        assert list(tick().claimed) == ["default"]
        assert len(list_backups()) == before + 1


def run(**values: Any) -> Run:
    source = current_project().source("default")
    return Run.objects.create(**source.model_dump(), **values)


@pytest.mark.parametrize("use_tz", [True, False])
def test_both_hours_of_the_autumn_clock_change_have_their_slots(
    site: Site, books: Path, time: Clock, use_tz: bool
) -> None:
    """Stored as local time, the second 2:00 would equal the first one; USE_TZ makes no difference."""
    site.set(USE_TZ=use_tz)
    site.configure(schedule={"cron": "0 * * * *"})
    for hour in range(3):
        time.now = datetime(2026, 10, 25, hour, 0, 1, tzinfo=UTC)
        assert not tick().problems
    assert [(row.slot, row.state) for row in Run.objects.order_by("slot")] == [
        (datetime(2026, 10, 25, hour, tzinfo=UTC), "succeeded") for hour in range(3)
    ]
