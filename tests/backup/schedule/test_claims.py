"""Ticks in place, with a clock that the test sets: every slot is served once, missed slots are made up for once."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from django_cfg.backup import signals
from django_cfg.backup.models import Run
from django_cfg.backup.services.catalog.places import list_backups
from django_cfg.backup.services.restore.restore import restore_backup
from django_cfg.backup.services.schedule.tick import TickReport, tick
from tests.support.django_project import Site
from tests.support.stopped_clock import Clock

SQLITE = "django.db.backends.sqlite3"


def made(ticked: TickReport) -> list[str]:
    assert not ticked.problems, ticked.problems
    return [getattr(result, "source", result).database for result in ticked.results]  # type: ignore[union-attr]


def states() -> list[tuple[str, datetime | None]]:
    return [(row.state, row.slot) for row in Run.objects.order_by("slot", "pk")]


def at(hour: int, day: int = 1) -> datetime:
    return datetime(2026, 6, day, hour, tzinfo=UTC)


class TestSlots:
    def test_a_database_without_a_backup_is_due_immediately(self, hourly: Site) -> None:
        ticked = tick()
        assert made(ticked) == ["default"]
        assert ticked.claimed == {"default": at(12)}
        (manifest,) = list_backups()
        assert (manifest.slot, manifest.trigger) == (at(12), "scheduled")
        assert states() == [("succeeded", at(12))]

    def test_each_slot_is_served_once(self, hourly: Site, time: Clock) -> None:
        for _ in range(3):
            for _ in range(4):
                tick()
                time.advance(minutes=15)
        assert [m.slot for m in list_backups()] == [at(14), at(13), at(12)]

    def test_missed_slots_are_made_up_for_once(self, hourly: Site, time: Clock) -> None:
        """The older slots are recorded as missed and reported."""
        reported: list[Any] = []

        def listen(slots: list[datetime], **_: Any) -> None:
            reported.append(slots)

        signals.slots_missed.connect(listen)
        tick()
        time.advance(hours=4)
        assert made(tick()) == ["default"]
        assert made(tick()) == []
        missed = [("missed", at(13)), ("missed", at(14)), ("missed", at(15))]
        assert states() == [("succeeded", at(12)), *missed, ("succeeded", at(16))]
        assert reported == [[at(15), at(14), at(13)]]

    def test_a_failed_run_has_served_its_slot(self, hourly: Site, time: Clock) -> None:
        """It is reported; the next slot tries again."""
        hourly.configure(schedule={"cron": "0 * * * *"}, databases=[{"alias": "default", "exclude_tables": ["nosuch"]}])
        assert made(tick()) == ["default"]
        assert made(tick()) == []
        time.advance(hours=1)
        assert made(tick()) == ["default"]
        assert states() == [("failed", at(12)), ("failed", at(13))]

    def test_an_interval_counts_from_the_last_start(self, site: Site, books: Path, time: Clock) -> None:
        """A backup by hand counts as well."""
        site.configure(schedule={"interval_hours": 6})
        assert made(tick()) == ["default"]
        time.advance(hours=5)
        site.create()
        time.advance(hours=5, minutes=59)
        assert made(tick()) == []
        time.advance(minutes=1)
        assert made(tick()) == ["default"]

    def test_a_daily_time_is_served_once(self, site: Site, books: Path, time: Clock) -> None:
        site.configure(schedule={"daily_time": "02:00"})
        assert tick().claimed == {"default": at(0)}
        time.advance(hours=11)
        assert tick().claimed == {}
        time.advance(hours=1)
        assert tick().claimed == {"default": at(0, day=2)}

    @pytest.mark.parametrize(
        "night", [datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)], ids=["spring", "autumn"]
    )
    def test_a_clock_change_causes_one_backup_a_night(
        self, site: Site, books: Path, time: Clock, night: datetime
    ) -> None:
        """With ticks every ten minutes from the evening before to the evening after."""
        site.configure(schedule={"cron": "30 2 * * *"})
        time.now = night - timedelta(hours=22)
        tick()
        before = len(list_backups())
        time.now = night - timedelta(hours=2)
        for _ in range(24 * 6):
            tick()
            time.advance(minutes=10)
        assert len(list_backups()) == before + 1


class TestWhatIsScheduled:
    @pytest.mark.parametrize(
        "parameters",
        [
            {"enabled": False},
            {"schedule": {"enabled": False}},
            {"databases": [{"alias": "default", "enabled": False}]},
            {"databases": [{"alias": "default", "schedule_override": {"enabled": False}}]},
        ],
        ids=["everything", "the schedule", "the database", "its own schedule"],
    )
    def test_switched_off_schedules_run_nothing(self, hourly: Site, parameters: dict[str, Any]) -> None:
        hourly.configure(**parameters)
        assert tick() == TickReport()
        assert list_backups() == []
        assert not Run.objects.exists()

    def test_each_database_has_its_own_schedule(self, hourly: Site, time: Clock) -> None:
        shop = hourly.root / "shop.sqlite3"
        hourly.sql("CREATE TABLE book (id integer)", database=shop)
        hourly.use_databases(
            default={"ENGINE": SQLITE, "NAME": str(hourly.database)}, shop={"ENGINE": SQLITE, "NAME": str(shop)}
        )
        own = {"alias": "shop", "schedule_override": {"interval_hours": 3}}
        hourly.configure(schedule={"cron": "0 * * * *"}, databases=[own])
        served = []
        for _ in range(4):
            served.append(made(tick()))
            time.advance(hours=1)
        assert served == [["default", "shop"], ["default"], ["default"], ["default", "shop"]]

    def test_a_failed_backup_does_not_stop_the_others(self, hourly: Site) -> None:
        shop = hourly.root / "shop.sqlite3"
        hourly.sql("CREATE TABLE book (id integer)", database=shop)
        sqlite = {"ENGINE": SQLITE}
        hourly.use_databases(
            default={**sqlite, "NAME": str(hourly.database)},
            aaa={**sqlite, "NAME": str(hourly.root / "missing")},
            shop={**sqlite, "NAME": str(shop)},
        )
        assert sorted(made(tick())) == ["aaa", "default", "shop"]
        assert {m.source.database for m in list_backups()} == {"default", "shop"}


class TestTickers:
    def test_simultaneous_ticks_make_one_backup_a_slot(self, hourly: Site, time: Clock) -> None:
        """SQLite keeps the history: its "database is locked" is waited for."""
        problems: list[Any] = []

        def look() -> None:
            try:
                problems.extend(tick().problems)
            finally:
                connections.close_all()

        for _ in range(5):
            tickers = [threading.Thread(target=look) for _ in range(6)]
            for ticker in tickers:
                ticker.start()
            for ticker in tickers:
                ticker.join()
            time.advance(hours=1)
        assert problems == []
        assert [m.slot for m in list_backups()] == [at(16), at(15), at(14), at(13), at(12)]

    def test_an_abandoned_claim_is_served_by_the_next_tick(self, hourly: Site) -> None:
        """Its ticker was killed between the claim and the start."""
        claim(at(12), hourly_now(), state="queued")
        assert made(tick()) == ["default"]
        assert states() == [("succeeded", at(12))]

    def test_a_claim_that_waits_too_long_serves_the_next_slot(self, hourly: Site, time: Clock) -> None:
        """One backup, not two in a row."""
        claim(at(12), hourly_now(), state="queued")
        time.advance(hours=2)
        assert made(tick()) == ["default"]
        assert made(tick()) == []
        assert states() == [("missed", at(12)), ("missed", at(13)), ("succeeded", at(14))]

    def test_the_next_slot_waits_for_a_running_backup(self, hourly: Site, time: Clock) -> None:
        claim(None, time.now, state="running", trigger="manual", lease=True, heartbeat_at=time.now)
        assert made(tick()) == []
        assert Run.objects.filter(slot__isnull=False).count() == 0
        Run.objects.update(state="succeeded", lease=None)
        assert made(tick()) == ["default"]


class TestLostHistory:
    def test_slots_from_before_a_restore_are_not_served_again(self, hourly: Site, time: Clock) -> None:
        """The manifests record the slots: no slot is served twice, the next one is served."""
        tick()
        first = list_backups()[0].name
        time.advance(hours=1)
        tick()
        restore_backup(first)
        assert not Run.objects.filter(slot=at(13)).exists()
        assert made(tick()) == []
        time.advance(hours=1)
        assert made(tick()) == ["default"]
        assert [m.slot for m in list_backups()] == [at(14), at(13), at(12)]

    def test_a_restored_claim_is_not_served_again(self, hourly: Site, time: Clock) -> None:
        tick()
        Run.objects.update(state="queued", queued_at=time.now, started_at=None)
        assert made(tick()) == []
        assert len(list_backups()) == 1

    def test_an_empty_history_does_not_repeat_slots(self, hourly: Site) -> None:
        tick()
        Run.objects.all().delete()
        assert made(tick()) == []

    @pytest.mark.parametrize("kind", ["no table", "no file"])
    def test_without_a_history_nothing_is_claimed_and_the_tick_fails(self, hourly: Site, kind: str) -> None:
        """Without a claim there is no run, and a lost SQLite file is not created again."""
        reported: list[str] = []

        def listen(message: str, **_: Any) -> None:
            reported.append(message)

        signals.schedule_failed.connect(listen)
        hourly.close()
        if kind == "no table":
            hourly.sql("DROP TABLE django_cfg_backup_run")
        else:
            hourly.database.unlink()
        ticked = tick()
        assert ticked.problems
        assert list_backups() == []
        assert len(reported) == 1
        assert "history" in reported[0]
        assert hourly.database.exists() == (kind == "no table")

    def test_an_unreadable_storage_leaves_the_slot_unclaimed(self, hourly: Site) -> None:
        """Whether the slot was served is unknown; it is made up for when the storage is available."""
        hourly.backups.write_text("a file where the folder should be")
        assert tick().problems
        assert not Run.objects.exists()
        hourly.backups.unlink()
        assert made(tick()) == ["default"]


def test_a_locked_history_is_waited_for(hourly: Site) -> None:
    """SQLite answers "database is locked" when the wait is longer than the driver's own."""
    hourly.use_databases(default={"ENGINE": SQLITE, "NAME": str(hourly.database), "OPTIONS": {"timeout": 0.1}})
    with closing(sqlite3.connect(hourly.database, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.6, other.rollback)
        release.start()
        ticked = tick()
        release.join()
    assert made(ticked) == ["default"]


def hourly_now() -> datetime:
    return at(12) + timedelta(seconds=30)


def claim(slot: datetime | None, queued_at: datetime, **values: Any) -> Run:
    facts = {"project": "tests", "env": "test", "database": "default", "trigger": "scheduled", **values}
    return Run.objects.create(slot=slot, queued_at=queued_at, **facts)
