"""Ticks in place, the clock in the test's hand: every slot once, a missed one made up for once."""

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
from django_cfg.backup.services.catalog.catalog import list_backups
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
    def test_never_backed_up_is_due_at_once(self, hourly: Site) -> None:
        ticked = tick()
        assert made(ticked) == ["default"]
        assert ticked.claimed == {"default": at(12)}
        (manifest,) = list_backups()
        assert (manifest.slot, manifest.trigger) == (at(12), "scheduled")
        assert states() == [("succeeded", at(12))]

    def test_each_slot_once(self, hourly: Site, time: Clock) -> None:
        for _ in range(3):
            for _ in range(4):
                tick()
                time.advance(minutes=15)
        assert [m.slot for m in list_backups()] == [at(14), at(13), at(12)]

    def test_a_night_that_was_missed_is_made_up_for_once(self, hourly: Site, time: Clock) -> None:
        """The older slots are recorded as missed, and told of."""
        told: list[Any] = []

        def listen(slots: list[datetime], **_: Any) -> None:
            told.append(slots)

        signals.slots_missed.connect(listen)
        tick()
        time.advance(hours=4)
        assert made(tick()) == ["default"]
        assert made(tick()) == []
        missed = [("missed", at(13)), ("missed", at(14)), ("missed", at(15))]
        assert states() == [("succeeded", at(12)), *missed, ("succeeded", at(16))]
        assert told == [[at(15), at(14), at(13)]]

    def test_a_failed_run_has_served_its_slot(self, hourly: Site, time: Clock) -> None:
        """It is told of; the next slot tries again."""
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

    def test_a_daily_time(self, site: Site, books: Path, time: Clock) -> None:
        site.configure(schedule={"daily_time": "02:00"})
        assert tick().claimed == {"default": at(0)}
        time.advance(hours=11)
        assert tick().claimed == {}
        time.advance(hours=1)
        assert tick().claimed == {"default": at(0, day=2)}

    @pytest.mark.parametrize(
        "night", [datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)], ids=["spring", "autumn"]
    )
    def test_the_night_of_the_clock_change(self, site: Site, books: Path, time: Clock, night: datetime) -> None:
        """Ticks every ten minutes from the evening before to the evening after: one backup, of one night."""
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
    def test_switched_off_nothing_runs_by_itself(self, hourly: Site, parameters: dict[str, Any]) -> None:
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

    def test_one_that_fails_does_not_keep_the_others_from_being_made(self, hourly: Site) -> None:
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
    def test_many_at_once_make_one_backup_a_slot(self, hourly: Site, time: Clock) -> None:
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

    def test_a_claim_that_nobody_serves_is_served_by_the_next_tick(self, hourly: Site) -> None:
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

    def test_while_a_backup_goes_on_the_next_slot_waits(self, hourly: Site, time: Clock) -> None:
        claim(None, time.now, state="running", trigger="manual", lease=True, heartbeat_at=time.now)
        assert made(tick()) == []
        assert Run.objects.filter(slot__isnull=False).count() == 0
        Run.objects.update(state="succeeded", lease=None)
        assert made(tick()) == ["default"]


class TestLostHistory:
    def test_a_restored_database_has_forgotten_its_claims(self, hourly: Site, time: Clock) -> None:
        """The manifests remember: no slot is served again, the next one is."""
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

    def test_a_claim_that_came_back_with_a_restore_is_not_served_again(self, hourly: Site, time: Clock) -> None:
        tick()
        Run.objects.update(state="queued", queued_at=time.now, started_at=None)
        assert made(tick()) == []
        assert len(list_backups()) == 1

    def test_an_empty_history_is_enough(self, hourly: Site) -> None:
        tick()
        Run.objects.all().delete()
        assert made(tick()) == []

    @pytest.mark.parametrize("kind", ["no table", "no file"])
    def test_without_a_history_nothing_is_claimed_and_that_is_told(self, hourly: Site, kind: str) -> None:
        """No claim, no run; and a lost SQLite file does not come back empty."""
        told: list[str] = []

        def listen(message: str, **_: Any) -> None:
            told.append(message)

        signals.schedule_failed.connect(listen)
        hourly.close()
        if kind == "no table":
            hourly.sql("DROP TABLE django_cfg_backup_run")
        else:
            hourly.database.unlink()
        ticked = tick()
        assert ticked.problems
        assert list_backups() == []
        assert len(told) == 1
        assert "history" in told[0]
        assert hourly.database.exists() == (kind == "no table")

    def test_a_storage_that_cannot_be_read_keeps_the_slot_unclaimed(self, hourly: Site) -> None:
        """Whether it is done cannot be known; it is made up for when the storage is back."""
        hourly.backups.write_text("a file where the folder should be")
        assert tick().problems
        assert not Run.objects.exists()
        hourly.backups.unlink()
        assert made(tick()) == ["default"]


def test_a_history_that_is_written_to_for_a_while_is_waited_for(hourly: Site) -> None:
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
