"""backup_status: the state of the backups, from the storage alone; exit code 4 if anything is unhealthy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.schedule.tick import tick
from tests.support.backup_status import prove, put, status
from tests.support.django_project import Site
from tests.support.stopped_clock import START, Clock


class TestHealthy:
    def test_the_document_describes_each_source(self, hourly: Site) -> None:
        made = put(hourly, START - timedelta(minutes=20))
        proof = prove(hourly, made, succeeded=True)
        code, source = status(hourly)
        assert code == 0
        assert source == {
            "project": "tests",
            "env": "test",
            "database": "default",
            "healthy": True,
            "overdue": False,
            "proof_overdue": False,
            "problems": [],
            "last_success": made.started_at.isoformat().replace("+00:00", "Z"),
            "last_backup": made.name,
            "age_seconds": 20 * 60,
            "size": 1000,
            "next_slot": "2026-06-01T12:00:00Z",
            "last_proof": proof.model_dump(mode="json", by_alias=True),
            "provable_here": True,
            "damaged": [],
        }

    def test_the_next_backup_is_that_of_the_next_tick(self, hourly: Site) -> None:
        """A first manual backup serves no slot."""
        hourly.create()
        assert "  at the next tick  " in hourly.call("backup_status").stdout
        announced = datetime.fromisoformat(status(hourly)[1]["next_slot"])
        assert tick().claimed == {"default": announced}
        assert status(hourly)[1]["next_slot"] == "2026-06-01T13:00:00Z"
        assert "  2026-06-01 15:00:00 CEST  " in hourly.call("backup_status").stdout

    def test_the_text_for_a_person(self, hourly: Site) -> None:
        put(hourly, START - timedelta(hours=1))
        answer = hourly.call("backup_status")
        header, line = answer.stdout.strip().splitlines()
        assert header.split("  ")[0] == "SOURCE"
        assert line.startswith("tests/test/default  2026-06-01 13:00:30 CEST  1 h 0 min")
        assert line.endswith("never       ok")

    def test_without_a_schedule_nothing_is_overdue(self, hourly: Site) -> None:
        hourly.configure(schedule={"enabled": False})
        assert status(hourly) == (0, status(hourly)[1])
        assert status(hourly)[1]["next_slot"] is None

    @pytest.mark.parametrize("history", ["empty", "no table", "gone"])
    def test_the_status_needs_no_history(self, hourly: Site, history: str) -> None:
        put(hourly, START)
        hourly.close()
        if history == "no table":
            hourly.sql("DROP TABLE django_cfg_backup_run")
        if history == "gone":
            hourly.database.unlink()
        assert status(hourly)[0] == 0


class TestUnhealthy:
    def test_a_scheduled_source_without_a_backup(self, hourly: Site) -> None:
        code, source = status(hourly)
        assert code == 4
        assert source["overdue"]
        assert source["last_success"] is None
        assert "never backed up" in source["problems"][0]

    @pytest.mark.parametrize(
        ("schedule", "interval"),
        [
            ({"cron": "0 * * * *"}, timedelta(hours=1)),
            ({"cron": "0 2 * * *"}, timedelta(days=1)),
            ({"interval_hours": 6}, timedelta(hours=6)),
            ({"daily_time": "02:00"}, timedelta(days=1)),
        ],
        ids=str,
    )
    def test_a_dead_scheduler_is_reported_within_one_interval_and_the_grace(
        self, site: Site, books: Path, time: Clock, schedule: dict[str, Any], interval: timedelta
    ) -> None:
        """Counted from its last backup, and not before its next slot was missed."""
        site.configure(schedule={**schedule, "grace_minutes": 30})
        time.now = datetime(2026, 6, 1, 0, 0, 5, tzinfo=UTC)
        tick()
        took = timedelta(seconds=5)
        time.now += interval - timedelta(minutes=1)
        assert status(site)[0] == 0
        time.now += timedelta(minutes=30)
        assert status(site)[0] == 0
        time.now += timedelta(minutes=1) + took
        code, source = status(site)
        assert (code, source["overdue"]) == (4, True)

    def test_a_long_backup_is_not_overdue(self, hourly: Site) -> None:
        """The duration of the last one counts as grace too: at noon the slot of eleven is still being served."""
        hourly.configure(schedule={"cron": "0 * * * *", "grace_minutes": 30})
        long = put(hourly, START - timedelta(hours=1, minutes=40))
        assert status(hourly)[0] == 4
        taking = long.model_copy(update={"finished_at": long.started_at + timedelta(minutes=50)})
        current_project().storage.delete(long.key)
        current_project().storage.write(long.key, taking.to_json())
        assert status(hourly)[0] == 0

    def test_a_manual_backup_counts(self, hourly: Site) -> None:
        """The data is safe; the dead scheduler is reported a slot later."""
        put(hourly, START - timedelta(hours=9))
        assert status(hourly)[0] == 4
        put(hourly, START)
        assert status(hourly)[0] == 0

    @pytest.mark.parametrize(("size", "code"), [(499, 4), (500, 0)])
    def test_half_of_the_usual_size_is_a_problem(self, hourly: Site, size: int, code: int) -> None:
        """Half of the median of the last ten; those before them do not count."""
        for hours in range(20, 10, -1):
            put(hourly, START - timedelta(hours=hours), size=9000)
        for hours in range(10, 0, -1):
            put(hourly, START - timedelta(hours=hours), size=1000)
        put(hourly, START, size=size)
        answer = hourly.call("backup_status")
        assert answer.code == code
        assert ("less than half of what the last 10 had" in answer.stderr) == (code == 4)

    def test_the_last_failed_drill_is_a_problem(self, hourly: Site) -> None:
        """The last drill counts, whichever backup it was of."""
        older, newer = put(hourly, START - timedelta(hours=1)), put(hourly, START)
        prove(hourly, older, succeeded=False)
        code, source = status(hourly)
        assert code == 4
        assert "book has 199 rows, not 200" in source["problems"][0]
        prove(hourly, newer, succeeded=True)
        assert status(hourly)[0] == 0

    def test_one_unhealthy_source_of_several(self, hourly: Site) -> None:
        shop = hourly.root / "shop.sqlite3"
        hourly.sql("CREATE TABLE book (id integer)", database=shop)
        sqlite = {"ENGINE": "django.db.backends.sqlite3"}
        hourly.use_databases(default={**sqlite, "NAME": str(hourly.database)}, shop={**sqlite, "NAME": str(shop)})
        put(hourly, START)
        answer = hourly.call("backup_status", json=True)
        assert answer.code == 4
        assert [source["healthy"] for source in answer.json["sources"]] == [True, False]

    def test_a_storage_that_cannot_be_read_is_a_failure(self, hourly: Site) -> None:
        hourly.backups.write_text("a file")
        assert hourly.call("backup_status").code == 1
