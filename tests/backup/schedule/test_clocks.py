"""Clocks that differ: a backup from the future hides nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from django_cfg.backup.models import Run
from django_cfg.backup.services.catalog.catalog import list_backups
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.schedule.tick import tick
from tests.support.backup_status import put, status
from tests.support.django_project import Site
from tests.support.notification_servers import Mailbox
from tests.support.stopped_clock import START, Clock

AHEAD = timedelta(days=30)


class TestFromTheFuture:
    def test_it_does_not_hide_a_dead_scheduler(self, hourly: Site) -> None:
        """Its slot is in the future as well; it is told of by name."""
        put(hourly, START - timedelta(hours=9))
        ahead = put(hourly, START + AHEAD, slot=START.replace(second=0) + AHEAD)
        code, source = status(hourly)
        assert (code, source["overdue"]) == (4, True)
        assert source["age_seconds"] == 9 * 60 * 60
        assert f"{ahead.name} is dated 2026-07-01 12:00 UTC, ahead of this clock" in source["problems"][1]

    def test_it_is_told_although_nothing_is_overdue(self, hourly: Site) -> None:
        made = put(hourly, START)
        put(hourly, START + AHEAD)
        code, source = status(hourly)
        assert (code, source["overdue"], source["last_backup"]) == (4, False, made.name)
        assert len(source["problems"]) == 1

    def test_clocks_differ_by_minutes(self, hourly: Site) -> None:
        put(hourly, START + timedelta(minutes=5))
        assert status(hourly)[0] == 0

    def test_a_tick_tells_that_no_others_come(self, hourly: Site, mailbox: Mailbox, time: Clock) -> None:
        put(hourly, START - timedelta(hours=9))
        put(hourly, START + AHEAD)
        for _ in range(2):  # runs that come to nothing, the first of them long ago
            run(slot=time.now.replace(second=0), queued_at=time.now, state="failed")
            time.advance(hours=1)
        run(slot=time.now.replace(second=0), queued_at=time.now, state="failed")
        tick()
        assert mailbox.subjects() == ["[Django] The backup of tests/test/default is overdue"]

    @pytest.mark.parametrize("where", ["storage", "history"])
    def test_an_interval_does_not_wait_for_it(self, hourly: Site, where: str) -> None:
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
