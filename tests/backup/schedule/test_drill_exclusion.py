"""One drill or restore of a database at a time: workers wait for the lock, ticks in place try again later."""

from __future__ import annotations

import io
from contextlib import ExitStack

import pytest
from django.core.management.base import OutputWrapper

from django_cfg.backup.errors import RestoreUnderWay
from django_cfg.backup.management.output.progress import TerminalProgress
from django_cfg.backup.models import Run
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.schedule.tick import tick
from django_cfg.backup.services.schedule.verification_job import VerificationResult, run_claimed_verification
from django_cfg.backup.services.verification import drill as drills
from django_cfg.backup.tasks import run_verification
from tests.support.django_project import Site
from tests.support.notification_servers import Mailbox
from tests.support.rq_jobs import jobs
from tests.support.scheduled_verification import HOURLY, clean, proofs, verify
from tests.support.stopped_clock import Clock


class TestLock:
    def test_a_worker_waits_for_the_end_of_a_running_restore(
        self, queued: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As two workers do that drill two databases next to the same third one."""
        manifest = queued.create()
        verify(queued, schedule={**HOURLY, "queue": "backups"})
        tick()
        number, database, claimed = jobs()[0].args
        monkeypatch.setattr(drills, "_PAUSE", 0.01)
        restoring = ExitStack()
        restoring.enter_context(current_project().engine("default").restoration(manifest))

        class Watch(TerminalProgress):
            def say(self, text: str) -> None:
                if "waiting" in text:
                    restoring.close()

        progress = Watch(OutputWrapper(io.StringIO()), quiet=True)
        result = run_claimed_verification(number, database, claimed, progress)
        assert result == VerificationResult(name=manifest.name, manifest=manifest, proof=proofs()[manifest.name])

    def test_a_worker_waits_for_a_limited_time(
        self, queued: Site, monkeypatch: pytest.MonkeyPatch, mailbox: Mailbox
    ) -> None:
        verify(queued, schedule={**HOURLY, "queue": "backups", "job_timeout": 1})
        manifest = queued.create()
        tick()
        monkeypatch.setattr(drills, "_PAUSE", 0.01)
        with current_project().engine("default").restoration(manifest), pytest.raises(RestoreUnderWay):
            run_verification(*jobs()[0].args)
        assert "could not be made" in mailbox.subjects()[0]

    def test_an_in_place_verification_is_left_for_the_next_tick(
        self, drilled: Site, mailbox: Mailbox, time: Clock
    ) -> None:
        """A waiting scheduler would make no backup for hours. No message is sent: the next tick tries again."""
        manifest = drilled.create()
        with current_project().engine("default").restoration(manifest):
            for _ in range(2):
                assert clean(tick()) == []
                row = Run.objects.get(kind="verification")
                assert (row.state, row.started_at, row.lease) == ("queued", None, None)
                time.advance(minutes=1)
        assert clean(tick()) == [
            VerificationResult(name=manifest.name, manifest=manifest, proof=proofs()[manifest.name])
        ]
        assert mailbox.mails == []
