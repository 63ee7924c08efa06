"""What ticks and drills are told of: overdue backups, ticks that cannot work, failed drills."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from django_cfg.backup import signals
from django_cfg.backup.manifest import Proof
from django_cfg.backup.models import Run
from django_cfg.backup.services.catalog.catalog import list_backups
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.schedule.tick import tick
from tests.support.django_project import Site
from tests.support.manifests import make_manifest, publish
from tests.support.notification_servers import Mailbox
from tests.support.stopped_clock import Clock


def test_overdue_counts_as_a_failure_and_is_told_once(hourly: Site, mailbox: Mailbox, time: Clock) -> None:
    """The ticker runs, and nothing comes of it: a worker that is gone, say."""
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
    """Without the table nothing is claimed: told once, not once a minute."""
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


def test_a_failed_drill_counts_as_a_failure(site: Site, books: Path, mailbox: Mailbox) -> None:
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
    mended = proof.model_copy(update={"succeeded": True, "differences": ()})
    for _ in range(2):
        signals.send_verification(
            signals.verification_succeeded, manifest.source, "", drill=True, trigger="manual", proof=mended
        )
    assert mailbox.subjects() == [
        f"[Django] The drill of {manifest.name} failed",
        "[Django] The drill of tests/test/default works again",
    ]
