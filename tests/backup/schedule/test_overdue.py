"""Overdue backups: the storage decides, and a run that hangs is an excuse for a limited time only."""

from __future__ import annotations

import io
import shutil
import signal
import time
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from django.core.management.base import OutputWrapper

from django_cfg.backup.management.output.progress import TerminalProgress
from django_cfg.backup.models import Run
from django_cfg.backup.process import time_limit
from django_cfg.backup.services.catalog.places import list_backups
from django_cfg.backup.services.creation import stall
from django_cfg.backup.services.creation.batch import Failure
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.schedule.tick import tick
from django_cfg.backup.storage.local.partial_file import PartialFile
from tests.support.django_project import Site
from tests.support.notification_servers import Mailbox
from tests.support.real_project import RUNS, STUCK, MakeProject, sql
from tests.support.rq_jobs import clean
from tests.support.stopped_clock import Clock
from tests.support.storages import Recording
from tests.support.stored_history import use_storage

OVERDUE = "[Django] The backup of tests/test/default is overdue"
WEEKLY = {"cron": "0 10 * * 1"}  # the clock shows noon on a Monday


def running(**values: Any) -> Run:
    source = current_project().source("default")
    return Run.objects.create(**source.model_dump(), **{"state": "running", "lease": True, **values})


class TestStorage:
    @pytest.mark.parametrize("lost", ["everything", "the archive"])
    def test_vanished_backups_are_notified_immediately(
        self, hourly: Site, mailbox: Mailbox, time: Clock, lost: str
    ) -> None:
        """Not after the next slot, which may be a week away."""
        hourly.configure(schedule=WEEKLY)
        clean(tick())
        time.advance(hours=2)
        clean(tick())
        assert mailbox.mails == []
        if lost == "everything":
            shutil.rmtree(hourly.backups)
        else:
            (hourly.backups / list_backups()[0].archive_key).unlink()
        for _ in range(2):
            tick()
        assert mailbox.subjects() == [OVERDUE]
        assert "There is none at all" in mailbox.last()

    def test_a_changed_storage_path_is_notified(self, hourly: Site, mailbox: Mailbox, time: Clock) -> None:
        hourly.configure(schedule=WEEKLY)
        tick()
        time.advance(hours=2)
        hourly.configure(schedule=WEEKLY, storage={"local_path": str(hourly.root / "elsewhere")})
        tick()
        assert mailbox.subjects() == [OVERDUE]

    def test_most_ticks_read_one_backup_and_list_nothing(
        self, hourly: Site, time: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """There may be a thousand backups, and a tick every minute."""
        hourly.configure(schedule=WEEKLY)
        tick()
        name = list_backups()[0].key
        time.advance(hours=2)
        storage = Recording(hourly.backups)
        use_storage(monkeypatch, storage)
        monkeypatch.setattr(storage, "list", lambda: pytest.fail("the storage was listed"))
        clean(tick())
        assert storage.steps == [f"open {name}"]

    def test_an_unreadable_storage_is_notified_as_such(self, hourly: Site, mailbox: Mailbox, time: Clock) -> None:
        hourly.configure(schedule=WEEKLY)
        tick()
        time.advance(hours=2)
        shutil.move(hourly.backups, hourly.root / "away")
        hourly.backups.write_text("a file where the folder should be")
        assert len(tick().problems) == 1
        assert mailbox.subjects() == ["[Django] Scheduled backups of tests/test do not start"]


class TestHanging:
    @pytest.mark.parametrize(("hours", "is_notified"), [(5, False), (7, True)])
    def test_a_running_backup_is_an_excuse_until_its_time_limit(
        self, hourly: Site, mailbox: Mailbox, time: Clock, hours: int, is_notified: bool
    ) -> None:
        """A run that hangs sends heartbeats, and prevents every slot from being served."""
        tick()
        time.advance(hours=1)
        row = running(started_at=time.now, heartbeat_at=time.now)
        time.advance(hours=hours)
        Run.objects.filter(pk=row.pk).update(heartbeat_at=time.now)
        assert clean(tick()).claimed == {}
        assert (mailbox.subjects() == [OVERDUE]) == is_notified

    def test_a_backup_in_place_is_ended_after_job_timeout(self, tmp_path: Path, real_project: MakeProject) -> None:
        """Its programs end too; the scheduler continues with the other databases."""
        schedule = {"cron": "0 * * * *", "job_timeout": 2}
        project = real_project(compression="bz2", schedule=schedule)
        programs = tmp_path / "programs"
        programs.mkdir()
        (programs / "lbzip2").write_text(STUCK.format(folder=project.folder))
        (programs / "lbzip2").chmod(0o755)
        project.path = f"{programs}:{project.path}"
        done = project.run("backup_tick")
        assert done.returncode == 1
        assert "took longer than 2 s and was ended" in done.stderr
        assert "raise BackupScheduleConfig.job_timeout" in done.stderr
        assert project.stored() == []
        ((state, message),) = sql(project, RUNS)
        assert (state, "took longer than 2 s" in str(message)) == ("failed", True)

    def test_a_verification_in_place_is_ended_after_job_timeout(self, hourly: Site, mailbox: Mailbox) -> None:
        """It says nothing about the backup: it is no failed drill."""

        class Hanging(TerminalProgress):
            def say(self, text: str) -> None:
                if "comparing" in text:
                    sleep(60)

        hourly.create()
        schedule = {"cron": "0 * * * *", "job_timeout": 1}
        hourly.configure(schedule={"enabled": False}, verification={"enabled": True, "schedule": schedule})
        (result,) = clean(tick(progress=Hanging(OutputWrapper(io.StringIO()), quiet=True))).verified
        assert isinstance(result, Failure)
        assert "verification of 'default' took longer than 1 s" in str(result.error)
        assert "could not be made" in mailbox.subjects()[0]
        assert list(hourly.backups.rglob("*.proof.json")) == []

    def test_an_existing_timer_is_kept(self) -> None:
        """RQ's timer, for example, in a job that ticks in place."""
        with time_limit.limit_time(60, "outer"), time_limit.limit_time(1, "inner"):
            assert signal.getitimer(signal.ITIMER_REAL)[0] > 30
        assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


@pytest.mark.usefixtures("apprise_is_loaded")
@pytest.mark.parametrize("pause", [0.0, 1.5])
def test_a_dump_that_hangs_is_notified_once_while_it_hangs(
    site: Site, books: Path, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, pause: float
) -> None:
    write = PartialFile.write

    def slow(self: PartialFile, block: bytes) -> int:
        time.sleep(pause)
        return write(self, block)

    monkeypatch.setattr(PartialFile, "write", slow)
    monkeypatch.setattr(stall, "SILENCE", 0.4 if pause else 60)
    site.create()
    reported = [subject for subject in mailbox.subjects() if "is overdue" in subject]
    assert len(reported) == bool(pause)
    assert len(site.stored()) == 2, "the backup has ended well after all"
