"""Verifications by schedule: the newest backup of each database, on the same slots and claims as backups."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest

from django_cfg.backup.errors import BackupError, StorageError, VerificationFailed
from django_cfg.backup.management.output.progress import TerminalProgress
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.models import Run
from django_cfg.backup.services.catalog.catalog import read_catalog
from django_cfg.backup.services.creation.batch import Failure
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.runs import heartbeat, lease
from django_cfg.backup.services.runs.file_lock import source_lock
from django_cfg.backup.services.schedule.tick import tick
from django_cfg.backup.services.schedule.verification_job import VerificationResult
from django_cfg.backup.tasks import run_verification
from tests.support.django_project import Site
from tests.support.gnupg_home import Home, Laptop
from tests.support.notification_servers import Mailbox
from tests.support.processes import wait_until
from tests.support.rq_jobs import jobs
from tests.support.scheduled_verification import HOURLY, NEVER, clean, verify
from tests.support.stopped_clock import START, Clock
from tests.support.worker_fleet import MakeFleet


def is_proved(manifest: Manifest) -> bool:
    return read_catalog(current_project().storage).is_proved(manifest)


def change_row_count(site: Site, manifest: Manifest) -> None:
    """Make the manifest claim one row more."""
    changed = manifest.model_dump_json(by_alias=True).replace('"name":"book","rows":200', '"name":"book","rows":201')
    (site.backups / manifest.key).write_text(changed)


class Cancelling(TerminalProgress):
    """Cancels the run at its first step."""

    def __init__(self) -> None:
        self.cancelled_by = ""

    def say(self, text: str) -> None:
        Run.objects.filter(state=Run.State.RUNNING).update(cancelled_by="ada")
        Event().wait(20)

    def begin(self, label: str, total: int) -> None:
        self.say(label)


class TestSlots:
    def test_nothing_is_verified_unless_configured(self, hourly: Site) -> None:
        tick()
        assert clean(tick()) == []

    def test_the_newest_backup_is_drilled_once_a_slot(self, drilled: Site, time: Clock) -> None:
        older = drilled.create()
        time.advance(minutes=1)
        newer = drilled.create()
        for _ in range(4):
            tick()
            time.advance(minutes=10)
        assert (is_proved(older), is_proved(newer)) == (False, True)
        kinds = Run.objects.filter(kind="verification").values_list("state", "name", "trigger")
        assert list(kinds) == [("succeeded", newer.name, "scheduled")]
        time.advance(hours=1)
        (result,) = clean(tick())
        assert isinstance(result, VerificationResult)
        assert result.manifest == newer

    def test_without_a_backup_nothing_is_claimed(self, drilled: Site) -> None:
        assert clean(tick()) == []
        assert not Run.objects.exists()
        drilled.create()
        assert len(clean(tick())) == 1

    def test_backups_and_verifications_share_a_slot(self, hourly: Site) -> None:
        hourly.configure(schedule=HOURLY, verification={"enabled": True, "schedule": HOURLY})
        first, second = tick(), tick()
        assert list(first.claimed) == ["default"]
        assert list(second.claimed) == ["default verification"]
        assert sorted(Run.objects.values_list("kind", "state")) == [
            ("backup", "succeeded"),
            ("verification", "succeeded"),
        ]

    def test_a_backup_and_a_verification_may_run_at_the_same_time(self, hourly: Site) -> None:
        """Each excludes only runs of its own kind."""
        hourly.create()
        hourly.configure(schedule=HOURLY, verification={"enabled": True, "schedule": HOURLY})
        running = Run(project="tests", env="test", database="default")
        lease.begin(current_project(), running, "")
        assert len(clean(tick())) == 1

    def test_missed_verifications_are_made_up_for_once(self, drilled: Site, time: Clock) -> None:
        drilled.create()
        tick()
        time.advance(hours=5)
        assert len(clean(tick())) == 1
        assert Run.objects.filter(kind="verification").count() == 2

    def test_an_interval_counts_from_the_last_verification(self, hourly: Site, time: Clock) -> None:
        verify(hourly, schedule={"interval_hours": 24})
        hourly.create()
        assert len(clean(tick())) == 1
        time.advance(hours=23)
        assert clean(tick()) == []
        time.advance(hours=1)
        assert len(clean(tick())) == 1

    def test_verification_by_checksums(self, hourly: Site) -> None:
        """The backup is read, and not proved."""
        verify(hourly, drill=False)
        manifest = hourly.create()
        message = f"{manifest.name} was read to its last byte, and is good."
        assert clean(tick()) == [VerificationResult(name=manifest.name, manifest=manifest, checked=message)]
        assert not is_proved(manifest)


class TestFailures:
    def test_a_failed_drill_is_notified_like_a_failed_backup(
        self, drilled: Site, mailbox: Mailbox, time: Clock
    ) -> None:
        """One message when it fails, and one when it works again."""
        manifest = drilled.create()
        tick()
        assert is_proved(manifest)
        change_row_count(drilled, manifest)
        for _ in range(2):
            time.advance(hours=1)
            (result,) = clean(tick())
            assert isinstance(result, Failure)
            assert "201" in str(result.error)
        assert not is_proved(manifest)
        (mail,) = mailbox.mails
        assert f"The drill of {manifest.name} failed" in mail["subject"]
        assert "book has 200 rows instead of 201" in mailbox.last()
        drilled.create()
        time.advance(hours=1)
        tick()
        assert "works again" in mailbox.subjects()[1]

    def test_a_drill_that_could_not_be_made_proves_nothing_and_is_notified(
        self, drilled: Site, mailbox: Mailbox, time: Clock
    ) -> None:
        """It does not hide a later drill that fails."""
        manifest = drilled.create()
        verify(drilled, drill_alias="nosuch")
        (result,) = clean(tick())
        assert isinstance(result, Failure)
        assert "could not be made" in mailbox.subjects()[0]
        assert manifest.name not in read_catalog(current_project().storage).proofs
        change_row_count(drilled, manifest)
        verify(drilled)
        time.advance(hours=1)
        tick()
        assert f"The drill of {manifest.name} failed" in mailbox.subjects()[1]

    def test_damage_that_checksums_show_is_notified(self, hourly: Site, mailbox: Mailbox, time: Clock) -> None:
        verify(hourly, drill=False)
        manifest = hourly.create()
        archive = hourly.backups / manifest.archive_key
        good = archive.read_bytes()
        archive.write_bytes(good[:-50] + bytes(50))
        (result,) = clean(tick())
        assert isinstance(result, Failure)
        assert "verification of tests/test/default failed" in mailbox.subjects()[0]
        archive.write_bytes(good)
        time.advance(hours=1)
        tick()
        assert "works again" in mailbox.subjects()[1]

    def test_a_failed_verification_sets_the_exit_code(self, drilled: Site, time: Clock) -> None:
        manifest = drilled.create()
        answer = drilled.call("backup_tick")
        assert answer.code == 0
        assert f"{manifest.name}: proved." in answer.stdout
        change_row_count(drilled, manifest)
        time.advance(hours=1)
        answer = drilled.call("backup_tick", "--json")
        assert answer.code == 1
        assert "201" in answer.json["verified"][0]["error"]
        assert "instead of 201" in answer.stderr

    def test_a_dead_verification_is_failed_and_notified(self, drilled: Site, mailbox: Mailbox, time: Clock) -> None:
        """Although the backup of its name exists."""
        manifest = drilled.create()
        row = Run(project="tests", env="test", database="default", kind="verification", name=manifest.name)
        lease.begin(current_project(), row, "")
        time.advance(minutes=6)
        tick()
        row.refresh_from_db()
        assert row.state == "failed"
        assert "could not be made" in mailbox.subjects()[0]


class TestNotMade:
    def test_one_next_to_another_waits_for_the_next_tick(
        self, drilled: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr("django_cfg.backup.services.runs.file_lock._PATIENCE", 0.01)
        caplog.set_level("INFO")
        manifest, project = drilled.create(), current_project()
        with source_lock(project, project.source("default"), Run.Kind.VERIFICATION):
            assert clean(tick()) == []
        assert "It is tried again with the next tick." in caplog.text
        assert [result.name for result in clean(tick())] == [manifest.name]

    @pytest.mark.parametrize("drill", [True, False])
    def test_one_that_is_cancelled_is_no_failure(
        self, hourly: Site, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, drill: bool
    ) -> None:
        monkeypatch.setattr(heartbeat, "_LOOK_EVERY", 0.05)
        verify(hourly, drill=drill)
        hourly.create()
        assert clean(tick(progress=Cancelling())) == []
        assert [row.state for row in Run.objects.filter(kind="verification")] == ["cancelled"]
        assert mailbox.mails == []

    def test_what_is_not_signed_is_not_verified(self, drilled: Site, mailbox: Mailbox) -> None:
        manifest = drilled.create()
        verification = {"enabled": True, "schedule": HOURLY}
        drilled.configure(schedule=NEVER, verification=verification, signing_key="k" * 43 + "=")
        (result,) = clean(tick())
        assert isinstance(result.error, VerificationFailed)
        assert "sign" in str(result.error)
        assert "could not be made" in mailbox.subjects()[0]
        assert not is_proved(manifest)

    def test_content_that_cannot_be_opened_here_is_still_read(
        self, hourly: Site, laptop: Laptop, server_home: Home, temporary: Path
    ) -> None:
        verification = {"enabled": True, "schedule": HOURLY, "drill": False}
        hourly.configure(schedule=NEVER, verification=verification, encryption_key=laptop.public)
        manifest = hourly.create()
        (result,) = clean(tick())
        assert isinstance(result, VerificationResult)
        assert f"{manifest.name} is stored as it was written; its content was not checked." in result.checked
        assert "private key" in result.checked


class TestQueue:
    def test_a_due_drill_becomes_a_job(self, queued: Site) -> None:
        manifest = queued.create()
        verify(queued, schedule={**HOURLY, "queue": "backups", "job_timeout": 99})
        assert tick().enqueued == ["default verification"]
        assert tick().enqueued == []
        (job,) = jobs()
        assert job.timeout == 99
        assert run_verification(*job.args) == manifest.name
        assert is_proved(manifest)
        assert run_verification(*job.args) == ""

    def test_a_failed_drill_fails_its_job(self, queued: Site) -> None:
        change_row_count(queued, queued.create())
        verify(queued, schedule={**HOURLY, "queue": "backups"})
        tick()
        with pytest.raises(VerificationFailed, match="201"):
            run_verification(*jobs()[0].args)
        assert [row.state for row in Run.objects.filter(kind="verification")] == ["failed"]

    def test_a_job_that_is_switched_off_while_it_waits_does_not_run(self, queued: Site) -> None:
        manifest = queued.create()
        verify(queued, schedule={**HOURLY, "queue": "backups"})
        tick()
        queued.configure(schedule=NEVER)
        assert run_verification(*jobs()[0].args) == ""
        assert not is_proved(manifest)

    def test_a_storage_that_is_away_is_notified(self, queued: Site, mailbox: Mailbox) -> None:
        queued.create()
        verify(queued, schedule={**HOURLY, "queue": "backups"})
        tick()
        queued.backups.rename(queued.root / "away")
        queued.backups.write_text("no folder")
        with pytest.raises(StorageError):
            run_verification(*jobs()[0].args)
        assert "could not be made" in mailbox.subjects()[0]

    def test_backups_that_are_gone_when_its_turn_comes_are_no_failure(self, queued: Site, mailbox: Mailbox) -> None:
        manifest = queued.create()
        verify(queued, schedule={**HOURLY, "queue": "backups"})
        tick()
        assert queued.call("backup_delete", manifest.name, "--yes", "--force").code == 0
        assert run_verification(*jobs()[0].args) == ""
        assert not Run.objects.filter(kind="verification").exists()
        assert mailbox.mails == []

    def test_an_unknown_queue_is_a_system_check_warning(self, queued: Site) -> None:
        verify(queued, schedule={**HOURLY, "queue": "nosuch"})
        assert "django_cfg_backup.W010" in queued.call("check").stderr

    def test_processes_back_up_and_drill_each_slot_once(self, rq_fleet: MakeFleet) -> None:
        """Two tickers and two workers, each in its own process."""
        schedule = {**HOURLY, "queue": "backups"}
        parameters = {"schedule": schedule, "verification": {"enabled": True, "schedule": schedule}}
        with rq_fleet(**parameters) as made:
            made.set_clock(START)
            for _ in range(2):
                made.start_ticker()
                made.start_worker()
            done = [("backup", "succeeded"), ("verification", "succeeded")]
            wait_until(lambda: made.rows("kind, state") == done, 60)
            assert len([path for path in made.manifests() if path.name.endswith(".proof.json")]) == 1
            made.set_clock(START + timedelta(hours=1))
            wait_until(lambda: sorted(made.rows("kind, state")) == sorted(done * 2), 60)


def test_no_drill_begins_without_the_history(drilled: Site) -> None:
    manifest = drilled.create()
    drilled.sql("DROP TABLE django_cfg_backup_run")
    ticked = tick()
    assert all(isinstance(problem, BackupError) for problem in ticked.problems)
    assert ticked.problems
    assert not is_proved(manifest)
