"""The time limit of a queue rings at any line of a job, also among its first and its last steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

import pytest
from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty

from django_cfg.backup import create_backup
from django_cfg.backup.errors import DumpFailed
from django_cfg.backup.models import Run
from django_cfg.backup.services.schedule.tick import tick
from django_cfg.backup.services.verification.drill_run import DrillRun
from django_cfg.backup.tasks import run_verification
from tests.support.django_project import Site
from tests.support.processes import wait_until
from tests.support.rq_jobs import clean
from tests.support.stopped_clock import START
from tests.support.worker_fleet import Fleet, MakeFleet

# Some step of a run, which lasts until the timer of the queue has rung.
SLOW = """
import signal, time
from django.apps import AppConfig

class Slow(AppConfig):
    name = "slow"

    def ready(self):
        from django_cfg.backup import signals
        from django_cfg.backup.services.runs.run import RecordedRun

        def last(*args, **kwargs):
            while signal.getitimer(signal.ITIMER_REAL)[0]:
                time.sleep(0.05)

        def slow(method):
            def slowly(*args):
                last()
                return method(*args)
            return slowly

        step = {step!r}
        if hasattr(RecordedRun, step):
            setattr(RecordedRun, step, slow(getattr(RecordedRun, step)))
        else:
            self.receiver = last
            getattr(signals, step).connect(last)
"""
LIMIT = 6  # seconds: longer than a backup of the shop takes


def tick_once(slow: Fleet) -> None:
    done = slow.project.run("backup_tick")
    assert done.returncode == 0, done.stderr


@contextmanager
def slow_fleet(rq_fleet: MakeFleet, step: str) -> Iterator[Fleet]:
    """A fleet in whose runs *step* lasts longer than the queue allows."""
    schedule = {"cron": "0 * * * *", "queue": "backups", "job_timeout": LIMIT}
    with rq_fleet(more='INSTALLED_APPS += ["slow"]\n', schedule=schedule) as made:
        (made.folder / "slow").mkdir()
        (made.folder / "slow" / "__init__.py").touch()
        (made.folder / "slow" / "apps.py").write_text(SLOW.format(step=step))
        made.set_clock(START)
        tick_once(made)  # a later tick would end the run of a process that is gone
        made.start_worker()
        wait_until(lambda: made.rows("state")[0][0] not in ("queued", "running"), 60)
        yield made


@pytest.mark.parametrize("step", ["backup_started"])
def test_before_the_backup_is_made(rq_fleet: MakeFleet, step: str) -> None:
    """Among the steps that take the lock and the row, and in a receiver, whose errors are logged: it ends the run."""
    with slow_fleet(rq_fleet, step) as slow:
        ((state, message, lease),) = slow.rows("state, message, lease")
        assert (state, lease) == ("failed", None)
        assert "The scheduled backup of 'default' reached the time limit of the queue and was ended" in message
        assert "raise BackupScheduleConfig.job_timeout" in message
        assert slow.project.stored() == []


@pytest.mark.parametrize("step", ["_end"])
def test_after_the_backup_is_stored(rq_fleet: MakeFleet, step: str) -> None:
    """It is a success for the history too, and the next one is made by the same worker."""
    with slow_fleet(rq_fleet, step) as slow:
        assert slow.rows("state, message, lease") == [("succeeded", "", None)]
        slow.advance(START, hours=1)
        tick_once(slow)
        wait_until(lambda: slow.rows("state") == [("succeeded",)] * 2, 60)
        assert len(slow.manifests()) == 2


def test_a_verification(hourly: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """That says nothing of the backup: its row has failed, and no proof is written."""
    hourly.create()
    schedule = {"cron": "0 * * * *", "job_timeout": 3600}
    hourly.configure(schedule={"enabled": False}, verification={"enabled": True, "schedule": schedule})
    monkeypatch.setattr("django_cfg.backup.services.schedule.tick._serve", lambda *_: None)
    clean(tick())
    (claim,) = Run.objects.filter(kind="verification")
    monkeypatch.setattr(DrillRun, "_compare", lambda _: sleep(60))
    with pytest.raises(DumpFailed, match="time limit of the queue"), UnixSignalDeathPenalty(1, JobTimeoutException):
        run_verification(claim.pk, "default", claim.queued_at.isoformat())
    (row,) = Run.objects.filter(kind="verification")
    assert (row.state, row.lease) == ("failed", None)
    assert "The scheduled verification of 'default' reached the time limit of the queue" in row.message
    assert list(hourly.backups.rglob("*.proof.json")) == []


def test_a_job_of_ones_own_that_makes_a_backup(site: Site, books: Path) -> None:
    """RQ's exception ends it: the history says so in words, and nothing is held."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django_cfg.backup.services.creation.store.pack", lambda *_: sleep(60))
        with pytest.raises(JobTimeoutException), UnixSignalDeathPenalty(1, JobTimeoutException):
            create_backup()
    (row,) = Run.objects.all()
    assert (row.state, row.lease) == ("failed", None)
    assert "It reached the time limit of the queue and was ended (Task exceeded" in row.message
    create_backup()
