"""Workers that fail every job before it begins: the claim waits for a working one."""

from __future__ import annotations

from rq.job import Job, JobStatus

from django_cfg.backup.models import Run
from django_cfg.backup.services.catalog.places import list_backups
from django_cfg.backup.services.schedule import rq
from django_cfg.backup.services.schedule.tick import tick
from django_cfg.backup.tasks import run_backup
from tests.support.django_project import Site
from tests.support.notification_servers import Mailbox
from tests.support.processes import wait_until
from tests.support.redis_server import RedisServer
from tests.support.rq_jobs import clean, fail_job, jobs
from tests.support.stopped_clock import START
from tests.support.worker_fleet import MakeFleet

# A worker that was deployed with code it cannot import.
BROKEN = """
import sys
if "rqworker" in sys.argv and (BASE_DIR / "broken").exists():
    sys.modules["django_cfg.backup.tasks"] = None
"""
MORE_THAN_A_FEW = 12


def test_a_claim_survives_a_worker_that_cannot_import_the_code(rq_fleet: MakeFleet) -> None:
    """However many jobs that worker has failed, the next worker makes the backup."""
    with rq_fleet(more=BROKEN) as broken:
        (broken.folder / "broken").touch()
        broken.set_clock(START)
        broken.start_ticker()
        worker = broken.start_worker("--max-jobs", str(MORE_THAN_A_FEW))
        assert worker.wait(120) == 0
        assert broken.rows("state") == [("queued",)]
        assert "fail on the queue 'backups' before it can begin" in broken.log()
        (broken.folder / "broken").unlink()
        broken.start_worker()
        wait_until(lambda: broken.rows("state") == [("succeeded",)], 60)
        assert len(broken.manifests()) == 1


def test_consecutive_failed_jobs_are_one_incident(queued: Site, redis_server: RedisServer, mailbox: Mailbox) -> None:
    """The notification is sent within minutes, not after job_timeout."""
    tick()
    for _ in range(30):
        fail_job(redis_server)
        tick()
        tick()
    assert mailbox.subjects() == ["[Django] Scheduled backups of tests/test do not start"]
    assert "see the log of its worker" in mailbox.last().replace("\n", " ")
    (job,) = jobs()
    assert run_backup(*job.args)
    assert clean(tick()).problems == []
    assert mailbox.subjects()[1] == "[Django] Scheduled backups of tests/test start again"
    assert len(list_backups()) == 1


def test_jobs_that_met_a_running_backup_have_not_failed(
    queued: Site, redis_server: RedisServer, mailbox: Mailbox
) -> None:
    tick()
    for _ in range(7):
        (job,) = jobs()
        job.set_status(JobStatus.FINISHED)
        with redis_server.connect() as client:
            client.delete("rq:queue:backups")
        clean(tick())
    assert mailbox.mails == []


def test_redis_remembers_failed_jobs_for_as_long_as_they_count(queued: Site) -> None:
    """A claim may wait for a week, the longest job_timeout."""
    tick()
    (job,) = jobs()
    assert job.failure_ttl == rq._REMEMBERED.total_seconds() > 7 * 24 * 60 * 60


def test_a_job_is_found_among_many_in_a_few_steps(queued: Site, redis_server: RedisServer) -> None:
    """One a minute for a day: no tick may ask Redis a thousand times."""
    tick()
    claim = Run.objects.get()
    with redis_server.connect() as client:
        for attempt in range(1, 1000):
            Job.create(run_backup, args=(1, "default", ""), id=rq._job_id(claim, attempt), connection=client).save()
        with rq._queue("backups") as queue:
            before = client.info("commandstats")["cmdstat_exists"]["calls"]
            assert rq._first_unknown(claim, queue) == 1000
            assert client.info("commandstats")["cmdstat_exists"]["calls"] - before < 30
