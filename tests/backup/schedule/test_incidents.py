"""Incidents: overdue and missed backups, ticks that cannot work, failed drills and prunes; and heartbeat URLs."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from django_cfg.backup import signals
from django_cfg.backup.errors import StorageError
from django_cfg.backup.manifest import Proof
from django_cfg.backup.models import Run
from django_cfg.backup.services.catalog.places import list_backups
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.schedule.tick import tick
from django_cfg.backup.storage.local import LocalStorage
from tests.support.backup_status import put, status
from tests.support.django_project import Site
from tests.support.manifests import make_manifest, publish
from tests.support.notification_servers import Mailbox, WebServer
from tests.support.rq_jobs import clean
from tests.support.stopped_clock import START, Clock
from tests.support.stored_history import ONE_DAY


def test_an_overdue_backup_is_notified_once(hourly: Site, mailbox: Mailbox, time: Clock) -> None:
    """Ticks run but no backup is made, for example without a worker."""
    tick()
    for _ in range(5):
        time.advance(hours=1)
        Run.objects.create(
            project="tests", env="test", database="default", slot=time.now.replace(second=0), state="failed"
        )
        for _ in range(3):
            tick()
    assert mailbox.subjects() == ["[Django] The backup of tests/test/default is overdue"]
    time.advance(hours=1)
    tick()
    assert len(list_backups()) == 2
    assert mailbox.subjects()[1:] == ["[Django] The backup of tests/test/default works again"]


def test_ticks_that_cannot_work_are_one_incident(
    hourly: Site, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the table nothing is claimed: notified once, not once a minute."""
    caplog.set_level(logging.CRITICAL)
    hourly.sql("ALTER TABLE django_cfg_backup_run RENAME TO away")
    for _ in range(3):
        tick()
    hourly.sql("ALTER TABLE away RENAME TO django_cfg_backup_run")
    for _ in range(3):
        tick()
    assert mailbox.subjects() == [
        "[Django] Scheduled backups of tests/test do not start",
        "[Django] Scheduled backups of tests/test start again",
    ]


def test_a_failed_drill_is_notified_once(site: Site, books: Path, mailbox: Mailbox) -> None:
    manifest = make_manifest()
    publish(current_project().storage, manifest)
    proof = Proof(
        name=manifest.name,
        archive_sha256=manifest.archive.sha256,
        at=manifest.started_at,
        duration=1,
        succeeded=False,
        differences=("book has 199 rows, not 200",),
    )
    for _ in range(2):
        signals.send_verification(
            signals.verification_failed, manifest.source, "it failed", drill=True, trigger="manual", proof=proof
        )
    fixed = proof.model_copy(update={"succeeded": True, "differences": ()})
    for _ in range(2):
        signals.send_verification(
            signals.verification_succeeded, manifest.source, "", drill=True, trigger="manual", proof=fixed
        )
    assert mailbox.subjects() == [
        f"[Django] The drill of {manifest.name} failed",
        "[Django] The drill of tests/test/default works again",
    ]


NOT_PRUNED = "[Django] Old backups of tests/test/default were not pruned as the retention says"


class RefusingStorage(LocalStorage):
    """Refuses to delete manifests while ``refuses`` is true."""

    refuses = True

    def delete(self, key: str) -> None:
        if self.refuses and key.endswith(".json"):
            raise StorageError(f"{key} cannot be deleted.")
        super().delete(key)


class TestMissed:
    def test_missed_slots_that_are_made_up_for_are_notified(self, hourly: Site, mailbox: Mailbox, time: Clock) -> None:
        """One message with their number; making up for them ends no incident."""
        clean(tick())
        time.advance(hours=4)
        for _ in range(3):
            clean(tick())
        assert mailbox.subjects() == ["[Django] 3 backups of tests/test/default were missed"]
        assert "from 2026-06-01 15:00:00 CEST to 2026-06-01 17:00:00 CEST" in mailbox.last().replace("\n", " ")
        time.advance(hours=2)
        clean(tick())
        assert mailbox.subjects()[1:] == ["[Django] 1 backup of tests/test/default was missed"]

    def test_missed_slots_without_a_worker_are_two_messages(self, queued: Site, mailbox: Mailbox, time: Clock) -> None:
        """One for the first missed slot and one for the overdue backup; not one an hour."""
        for _ in range(6):
            clean(tick())
            time.advance(hours=1)
        assert sorted(mailbox.subjects()) == [
            "[Django] 1 backup of tests/test/default was missed",
            "[Django] The backup of tests/test/default is overdue",
        ]


class TestPrune:
    def test_a_failed_prune_is_an_incident(
        self, hourly: Site, mailbox: Mailbox, time: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        storage = RefusingStorage(hourly.backups)
        monkeypatch.setattr("django_cfg.backup.services.project.places.open_storage", lambda *_: storage)
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

    def test_a_wrong_clock_is_notified(self, hourly: Site, mailbox: Mailbox) -> None:
        put(hourly, START.replace(year=START.year + 50))
        clean(tick())
        assert "one of the two clocks is wrong" in mailbox.last().replace("\n", " ")

    def test_protected_backups_above_the_limit_are_notified(self, hourly: Site, mailbox: Mailbox) -> None:
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

    def test_an_overdue_backup_calls_the_failure_url(self, hourly: Site, web: WebServer, time: Clock) -> None:
        tick()
        assert web.paths == ["/x"]
        time.advance(hours=3)
        source = current_project().source("default")
        Run.objects.create(**source.model_dump(), slot=time.now.replace(second=0), state="failed")
        tick()
        assert web.paths == ["/x", "/x/fail"]

    @pytest.mark.parametrize("drill", [True, False], ids=["drill", "read"])
    def test_a_failed_verification_calls_the_failure_url(
        self, hourly: Site, web: WebServer, books: Path, drill: bool
    ) -> None:
        manifest = hourly.create()
        failed = signals.verification_failed
        signals.send_verification(failed, manifest.source, "no", drill=drill, trigger="scheduled")
        assert web.paths == ["/x", "/x/fail"]
        assert len(list_backups()) == 1
