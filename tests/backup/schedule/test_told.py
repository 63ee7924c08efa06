"""Also told: backups that were missed, old ones that could not be pruned, and what a dead-man service hears."""

from __future__ import annotations

from pathlib import Path

import pytest

from django_cfg.backup import signals
from django_cfg.backup.errors import StorageError
from django_cfg.backup.models import Run
from django_cfg.backup.services.catalog.catalog import list_backups
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.schedule.tick import tick
from django_cfg.backup.storage.local import LocalStorage
from tests.support.backup_status import put, status
from tests.support.django_project import Site
from tests.support.notification_servers import Mailbox, WebServer
from tests.support.rq_jobs import clean
from tests.support.stopped_clock import START, Clock
from tests.support.stored_history import ONE_DAY

NOT_PRUNED = "[Django] Old backups of tests/test/default were not pruned as the retention says"


class Stubborn(LocalStorage):
    """Refuses to delete manifests, for as long as it is told to."""

    refuses = True

    def delete(self, key: str) -> None:
        if self.refuses and key.endswith(".json"):
            raise StorageError(f"{key} cannot be deleted.")
        super().delete(key)


class TestMissed:
    def test_dead_nights_that_are_made_up_for_are_told(self, hourly: Site, mailbox: Mailbox, time: Clock) -> None:
        """One message with their number; the made-up backup is not the end of an alarm."""
        clean(tick())
        time.advance(hours=4)
        for _ in range(3):
            clean(tick())
        assert mailbox.subjects() == ["[Django] 3 backups of tests/test/default were missed"]
        assert "from 2026-06-01 15:00:00 CEST to 2026-06-01 17:00:00 CEST" in mailbox.last().replace("\n", " ")
        time.advance(hours=2)
        clean(tick())
        assert mailbox.subjects()[1:] == ["[Django] 1 backup of tests/test/default was missed"]

    def test_without_a_worker_each_slot_is_missed_and_that_is_two_messages(
        self, queued: Site, mailbox: Mailbox, time: Clock
    ) -> None:
        """The first one, and that it is overdue; not one an hour."""
        for _ in range(6):
            clean(tick())
            time.advance(hours=1)
        assert sorted(mailbox.subjects()) == [
            "[Django] 1 backup of tests/test/default was missed",
            "[Django] The backup of tests/test/default is overdue",
        ]


class TestPrune:
    def test_one_that_fails_is_an_incident(
        self, hourly: Site, mailbox: Mailbox, time: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        storage = Stubborn(hourly.backups)
        monkeypatch.setattr("django_cfg.backup.services.project.project.open_storage", lambda *_: storage)
        hourly.configure(schedule={"cron": "0 * * * *"}, retention=ONE_DAY)
        for _ in range(4):
            clean(tick())
            time.advance(hours=24)
            hourly.create()
        assert [subject for subject in mailbox.subjects() if "missed" not in subject] == [NOT_PRUNED]
        assert "not pruned as the retention says" in status(hourly)[1]["problems"][0]
        storage.refuses = False
        hourly.create()
        assert mailbox.subjects()[-1] == "[Django] Pruning old backups of tests/test/default works again"
        assert status(hourly)[0] == 0

    def test_a_clock_that_is_wrong(self, hourly: Site, mailbox: Mailbox) -> None:
        put(hourly, START.replace(year=START.year + 50))
        clean(tick())
        assert "one of the two clocks is wrong" in mailbox.last().replace("\n", " ")

    def test_what_is_never_deleted_exceeds_the_limit(self, hourly: Site, mailbox: Mailbox) -> None:
        big = put(hourly, START.replace(year=2020), size=2_000_000)
        assert hourly.call("backup_pin", big.name).code == 0
        hourly.configure(retention={"max_total_size_mb": 1})
        for _ in range(2):
            hourly.create()
        assert [subject for subject in mailbox.subjects() if "smaller" not in subject] == [NOT_PRUNED]
        assert "max_total_size_mb" in mailbox.last()


class TestHeartbeat:
    @pytest.fixture(autouse=True)
    def _url(self, hourly: Site, web: WebServer) -> None:
        hourly.configure(
            schedule={"cron": "0 * * * *"}, heartbeat_url=f"http://127.0.0.1:{web.port}/x", notify_on_failure=False
        )

    def test_overdue_is_a_failure(self, hourly: Site, web: WebServer, time: Clock) -> None:
        tick()
        assert web.paths == ["/x"]
        time.advance(hours=3)
        source = current_project().source("default")
        Run.objects.create(**source.model_dump(), slot=time.now.replace(second=0), state="failed")
        tick()
        assert web.paths == ["/x", "/x/fail"]

    @pytest.mark.parametrize("drill", [True, False], ids=["drill", "read"])
    def test_a_failed_verification_is_a_failure(self, hourly: Site, web: WebServer, books: Path, drill: bool) -> None:
        manifest = hourly.create()
        failed = signals.verification_failed
        signals.send_verification(failed, manifest.source, "no", drill=drill, trigger="scheduled")
        assert web.paths == ["/x", "/x/fail"]
        assert len(list_backups()) == 1
