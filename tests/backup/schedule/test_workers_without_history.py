"""Workers that cannot reach the history while ticks can: one incident, however often both are reported."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from django_cfg.backup.errors import HistoryUnavailable
from django_cfg.backup.models import Run
from django_cfg.backup.services.catalog.places import list_backups
from django_cfg.backup.services.creation.batch import Failure
from django_cfg.backup.services.schedule.tick import tick
from django_cfg.backup.tasks import run_backup, run_verification
from tests.support.django_project import Site
from tests.support.notification_servers import Mailbox
from tests.support.redis_server import RedisServer
from tests.support.rq_jobs import clean, fail_job, jobs

SQLITE = "django.db.backends.sqlite3"
HOURLY = {"cron": "0 * * * *", "queue": "backups"}
NO_START = """
CREATE TRIGGER no_start BEFORE UPDATE OF state ON django_cfg_backup_run WHEN NEW.state = 'running'
BEGIN SELECT RAISE(ABORT, 'the disk is on fire'); END
"""


@pytest.fixture
def unmigrated(queued: Site, migrated_database: Path) -> Path:
    """The database as a worker with wrong settings sees it."""
    path = queued.root / "other.sqlite3"
    shutil.copy(migrated_database, path)
    queued.sql("DROP TABLE django_cfg_backup_run", database=path)
    return path


@pytest.mark.parametrize("kind", ["backup", "verification"])
def test_a_worker_without_the_history_is_one_incident(
    queued: Site, redis_server: RedisServer, mailbox: Mailbox, unmigrated: Path, kind: str
) -> None:
    """Notified when it begins, and when the worker has made the claimed backup; successful ticks do not end it."""
    run = run_backup
    if kind == "verification":
        run = run_verification
        queued.create()
        queued.configure(schedule={"enabled": False}, verification={"enabled": True, "schedule": HOURLY})
    for _ in range(4):
        clean(tick())
        (job,) = jobs()
        queued.use_databases(default={"ENGINE": SQLITE, "NAME": str(unmigrated)})
        with pytest.raises(HistoryUnavailable, match="run migrate"):
            run(*job.args)
        queued.use_databases(default={"ENGINE": SQLITE, "NAME": str(queued.database)})
        fail_job(redis_server)
        clean(tick())
    assert mailbox.subjects() == [f"[Django] The scheduled {kind} of tests/test/default could not begin"]
    assert "on this machine" in mailbox.last()
    assert run(*jobs()[0].args)
    assert mailbox.subjects()[1:] == [f"[Django] The scheduled {kind} of tests/test/default begins again"]


def test_an_in_place_start_that_the_history_refuses_is_one_incident(hourly: Site, mailbox: Mailbox) -> None:
    """The same tick reports its own success."""
    hourly.sql(NO_START)
    for _ in range(3):
        (result,) = clean(tick()).results
        assert isinstance(result, Failure)
        assert isinstance(result.error, HistoryUnavailable)
        assert "the disk is on fire" in str(result.error)
    assert [row.state for row in Run.objects.all()] == ["queued"]
    assert mailbox.subjects() == ["[Django] The scheduled backup of tests/test/default could not begin"]
    hourly.sql("DROP TRIGGER no_start")
    clean(tick())
    assert len(list_backups()) == 1
    assert mailbox.subjects()[1:] == ["[Django] The scheduled backup of tests/test/default begins again"]
