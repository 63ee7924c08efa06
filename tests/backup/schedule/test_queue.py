"""Jobs on a real Redis: lost jobs are enqueued again, and the claim, not Redis, decides what runs."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django
import django_rq
import pytest
from django.db import transaction
from rq.worker import Worker

from django_cfg.backup import create_backup
from django_cfg.backup.models import Run
from django_cfg.backup.services.catalog.places import list_backups
from django_cfg.backup.services.schedule.tick import tick
from django_cfg.backup.tasks import run_backup, run_copies, run_tick
from tests.support.django_project import Site
from tests.support.processes import children_of, is_running, is_watched, wait_until
from tests.support.redis_server import RedisServer
from tests.support.rq_jobs import clean, clear, fail_job, jobs
from tests.support.server_process import free_port
from tests.support.stopped_clock import START, Clock
from tests.support.worker_fleet import Fleet, MakeFleet

# A compressor that never ends, and writes its process id.
STUCK = """\
#!/bin/sh
echo $$ > {folder}/new && mv {folder}/new {folder}/writing
sleep 600
"""


class TestJobs:
    def test_a_due_backup_becomes_a_job_with_a_timeout(self, queued: Site) -> None:
        """On its schedule's queue, with plain arguments: nothing runs here."""
        queued.configure(schedule={"cron": "0 * * * *", "queue": "backups", "job_timeout": 1234})
        assert clean(tick()).enqueued == ["default"]
        (job,) = jobs()
        assert jobs("default") == []
        assert job.timeout == 1234
        assert {type(argument) for argument in job.args} <= {int, str}
        assert set(job.id) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_")
        assert list_backups() == []
        run_backup(*job.args)
        assert [m.trigger for m in list_backups()] == ["scheduled"]

    def test_a_job_whose_backup_is_missing_in_a_place_has_not_failed(self, queued: Site) -> None:
        (queued.root / "offsite").write_text("no folder")
        copies = [{"name": "offsite", "storage": {"local_path": str(queued.root / "offsite")}}]
        queued.configure(schedule={"cron": "0 * * * *", "queue": "backups"}, copies=copies)
        tick()
        (job,) = jobs()
        name = run_backup(*job.args)
        assert [manifest.name for manifest in list_backups()] == [name]

    def test_what_is_missing_in_a_place_is_copied_by_a_worker(self, queued: Site) -> None:
        """One job, however many ticks; what it has copied is asked for no more."""
        folder = queued.root / "offsite"
        copies = [{"name": "offsite", "storage": {"local_path": str(folder)}}]
        create_backup()
        queued.configure(schedule={"interval_hours": 168, "queue": "backups"}, copies=copies)
        assert [clean(tick()).enqueued, clean(tick()).enqueued] == [["copies"], []]
        (job,) = jobs()
        assert run_copies(*job.args) == 1
        assert sorted(path.name for path in folder.iterdir()) == queued.stored()
        job.delete()
        assert clean(tick()).enqueued == []

    def test_the_backend_process_runs_them_here_although_there_are_queues(self, queued: Site) -> None:
        queued.configure(queue_backend="process", schedule={"cron": "0 * * * *"})
        assert [result.trigger for result in tick().results] == ["scheduled"]
        assert jobs() == []

    def test_the_default_timeout_is_six_hours(self, queued: Site) -> None:
        tick()
        assert jobs()[0].timeout == 6 * 60 * 60

    def test_each_schedule_has_its_queue(self, queued: Site) -> None:
        own = {"alias": "default", "schedule_override": {"cron": "0 * * * *", "queue": "default"}}
        queued.configure(databases=[own])
        tick()
        assert len(jobs("default")) == 1
        assert jobs("backups") == []

    def test_many_ticks_make_one_job(self, queued: Site) -> None:
        for _ in range(3):
            tick()
        assert len(jobs()) == 1

    def test_a_job_that_runs_twice_makes_one_backup(self, queued: Site) -> None:
        tick()
        (job,) = jobs()
        assert run_backup(*job.args)
        assert run_backup(*job.args) == ""
        assert len(list_backups()) == 1

    def test_a_job_of_another_claim_does_nothing(self, queued: Site) -> None:
        """After a restore its id may be the id of another claim."""
        tick()
        number, database, _ = jobs()[0].args
        assert run_backup(number, database, "2020-01-01T00:00:00+00:00") == ""
        assert list_backups() == []

    def test_a_tick_inside_a_transaction_enqueues_immediately(self, queued: Site) -> None:
        """django-rq would return None, and send them when it ends, or with the end of a request that never was."""
        with transaction.atomic():
            assert tick().enqueued == ["default"]
        assert len(jobs()) == 1

    def test_a_job_that_is_switched_off_while_it_waits_does_not_run(self, queued: Site) -> None:
        tick()
        (job,) = jobs()
        queued.configure(schedule={"enabled": False})
        assert run_backup(*job.args) == ""
        assert list_backups() == []


def test_a_task_backend_without_workers_is_a_problem_of_the_tick(hourly: Site, fresh_tasks: None) -> None:
    """Nothing runs inside of the tick instead; the claim waits. Immediate is Django's default."""
    package = "django.tasks" if django.VERSION >= (6, 0) else "django_tasks"
    hourly.set(TASKS={"default": {"BACKEND": f"{package}.backends.immediate.ImmediateBackend"}})
    hourly.configure(queue_backend="tasks", schedule={"cron": "0 * * * *"})
    (problem,) = tick().problems
    assert "ImmediateBackend, which no worker serves" in str(problem)
    assert list_backups() == []
    assert [(row.state, row.enqueued_at) for row in Run.objects.all()] == [("queued", None)]


class TestLostJobs:
    def test_jobs_lost_by_redis_are_enqueued_again(self, queued: Site, redis_server: RedisServer) -> None:
        tick()
        clear(redis_server)
        assert clean(tick()).enqueued == ["default"]
        (job,) = jobs()
        run_backup(*job.args)
        assert clean(tick()).enqueued == []

    def test_jobs_are_enqueued_again_after_a_restart_of_redis(self, queued: Site, tmp_path: Path) -> None:
        """While Redis is unavailable the tick reports it, and the claim waits."""
        own = RedisServer(tmp_path)
        try:
            queued.set(RQ_QUEUES={"backups": {"URL": own.url}})
            assert clean(tick()).enqueued == ["default"]
            own.stop()
            (problem,) = tick().problems
            assert "look after Redis" in str(problem)
            own.start()
            assert clean(tick()).enqueued == ["default"]
            run_backup(*jobs()[0].args)
        finally:
            own.stop()
        assert len(list_backups()) == 1

    def test_nothing_runs_without_redis(self, queued: Site) -> None:
        """Nothing runs in place instead: another process may."""
        queued.set(RQ_QUEUES={"backups": {"URL": f"redis://127.0.0.1:{free_port()}/0"}})
        (problem,) = tick().problems
        assert "cannot be reached" in str(problem)
        assert list_backups() == []
        assert [row.state for row in Run.objects.all()] == ["queued"]

    def test_a_job_that_ended_without_starting_is_enqueued_again(self, queued: Site, redis_server: RedisServer) -> None:
        """Its worker died before it began, could not import the code, or found another backup going on."""
        tick()
        for _ in range(3):
            fail_job(redis_server)
            assert clean(tick()).enqueued == ["default"]
            assert clean(tick()).enqueued == []
        (job,) = jobs()
        assert run_backup(*job.args)

    def test_an_incomplete_job_blocks_nothing(self, queued: Site, redis_server: RedisServer) -> None:
        """The heartbeat of RQ writes into a deleted job: the result has no queue and never ends."""
        tick()
        (job,) = jobs()
        clear(redis_server)
        with redis_server.connect() as client:
            client.hset(job.key, "last_heartbeat", "2026-06-01T12:00:00Z")
        assert clean(tick()).enqueued == ["default"]

    def test_a_job_that_never_starts_is_failed_eventually(self, queued: Site, time: Clock) -> None:
        queued.configure(schedule={"cron": "0 2 * * *", "queue": "backups", "job_timeout": 3600})
        tick()
        time.advance(hours=1)
        jobs()[0].set_status("failed")
        assert clean(tick()).enqueued == []
        (row,) = Run.objects.all()
        assert row.state == "failed"
        assert "could not begin for 3600 s" in row.message

    def test_a_job_that_is_on_no_queue_is_enqueued_again(
        self, queued: Site, redis_server: RedisServer, time: Clock
    ) -> None:
        tick()
        with redis_server.connect() as client:
            client.delete("rq:queue:backups")
        assert clean(tick()).enqueued == []  # a worker may just have taken it
        time.advance(minutes=6)
        assert clean(tick()).enqueued == ["default"]

    def test_a_queue_that_is_not_configured_is_an_error(self, queued: Site) -> None:
        queued.configure(schedule={"cron": "0 * * * *", "queue": "nosuch"})
        (problem,) = tick().problems
        assert "'nosuch' is not in settings.RQ_QUEUES, which has: backups, default" in str(problem)
        answer = queued.call("check")
        assert "django_cfg_backup.W010" in answer.stderr


class TestCheck:
    """backup_check checks the queues of the schedules: RQ cannot report that it does not run."""

    def queues(self, site: Site) -> list[tuple[str, str]]:
        lines = site.call("backup_check", "--json").json
        return [(line["level"], line["text"]) for line in lines if line["subject"] == "queue"]

    def test_a_queue_without_a_worker_is_a_warning(self, queued: Site) -> None:
        ((level, text),) = self.queues(queued)
        assert (level, text.partition(",")[0]) == ("WARNING", "no worker takes jobs from 'backups'")

    def test_a_queue_with_a_worker_is_ok(self, queued: Site) -> None:
        queue = django_rq.get_queue("backups")
        worker = Worker([queue], connection=queue.connection)
        worker.register_birth()
        try:
            assert self.queues(queued) == [("OK", "'backups' answers, 1 worker")]
        finally:
            worker.register_death()
            queue.connection.close()

    def test_unavailable_redis_fails(self, queued: Site) -> None:
        queued.set(RQ_QUEUES={"backups": {"URL": "redis://127.0.0.1:1/0"}})
        ((level, text),) = self.queues(queued)
        assert level == "FAILED"
        assert "The queue 'backups' cannot be reached" in text
        assert queued.call("backup_check").code == 1

    def test_a_queue_that_is_not_configured_fails(self, queued: Site) -> None:
        queued.configure(schedule={"cron": "0 * * * *", "queue": "nosuch"})
        ((level, text),) = self.queues(queued)
        assert (level, "'nosuch' is not in settings.RQ_QUEUES" in text) == ("FAILED", True)

    def test_without_rq_there_is_no_line(self, hourly: Site) -> None:
        assert self.queues(hourly) == []


class TestWorkers:
    def test_a_worker_that_is_killed_during_a_dump(self, rq_fleet: MakeFleet, tmp_path: Path) -> None:
        """The next tick fails the run, the dump's child processes end, the next slot is served."""
        with stuck_fleet(rq_fleet, tmp_path) as killed:
            killed.start_ticker()
            worker = killed.start_worker()
            wait_until((killed.folder / "writing").exists, 60)
            child = int((killed.folder / "writing").read_text())
            horse = next(iter(children_of(worker.pid)))
            wait_until(lambda: is_watched(child, by=horse))
            for process in (horse, worker.pid):
                os.kill(process, signal.SIGKILL)
            wait_until(lambda: not is_running(child))
            wait_until(lambda: killed.rows("state") == [("failed",)], 60)
            ((message,),) = killed.rows("message")
            assert "killed, or the machine was restarted" in message
            (killed.folder.parent / "programs" / "lbzip2").unlink()
            killed.start_worker()
            killed.advance(START, hours=1)
            wait_until(lambda: killed.rows("state") == [("failed",), ("succeeded",)], 60)
            assert len(killed.manifests()) == 1

    def test_a_job_that_exceeds_its_timeout_leaves_no_child_process(self, rq_fleet: MakeFleet, tmp_path: Path) -> None:
        schedule = {"cron": "0 * * * *", "queue": "backups", "job_timeout": 3}
        with stuck_fleet(rq_fleet, tmp_path, schedule=schedule) as slow:
            slow.start_ticker()
            slow.start_worker()
            wait_until(lambda: slow.rows("state") == [("failed",)], 60)
            child = int((slow.folder / "writing").read_text())
            wait_until(lambda: not is_running(child))
            ((message,),) = slow.rows("message")
            assert "reached the time limit of the queue and was ended" in message
            assert "raise BackupScheduleConfig.job_timeout" in message
            assert slow.project.stored() == []


def test_rqcron_runs_ticks(rq_fleet: MakeFleet) -> None:
    """`rqcron django_cfg.backup.rq_cron`: ticks on one queue, backups on another."""
    with rq_fleet() as ticking:
        ticking.start_worker()
        ticking._start("manage.py", "rqworker", "default", "--verbosity=0")
        ticking._start("manage.py", "rqcron", "django_cfg.backup.rq_cron", "-l", "ERROR")
        wait_until(ticking.manifests, 60)
        wait_until(lambda: ticking.rows("state") == [("succeeded",)])


def test_rqcron_has_a_job_even_with_backups_switched_off(queued: Site) -> None:
    """It crashes without any job; the tick then finds nothing to do."""
    from django_rq.cron import DjangoCronScheduler

    queued.configure(enabled=False)
    scheduler = DjangoCronScheduler()
    scheduler.load_config_from_file("django_cfg.backup.rq_cron")
    (job,) = scheduler.get_jobs()
    assert (job.queue_name, job.interval, job.job_options["job_timeout"]) == ("default", 60, 600)
    assert run_tick() == 0
    scheduler.connection.close()


@contextmanager
def stuck_fleet(rq_fleet: MakeFleet, tmp_path: Path, **parameters: Any) -> Iterator[Fleet]:
    """A fleet whose compressor is stuck."""
    programs = tmp_path / "programs"
    programs.mkdir()
    with rq_fleet(compression="bz2", **parameters) as made:
        (programs / "lbzip2").write_text(STUCK.format(folder=made.folder))
        (programs / "lbzip2").chmod(0o755)
        made.project.path = f"{programs}:{made.project.path}"
        made.set_clock(START)
        yield made


def slots_in(fleet: Fleet) -> Counter[tuple[str, str]]:
    """How often each slot of each source was served, by the manifests."""
    documents = [json.loads(path.read_text()) for path in fleet.manifests()]
    return Counter((document["source"]["database"], document["slot"]) for document in documents)


@pytest.mark.parametrize(
    ("sources", "hours"), [(2, 2), pytest.param(4, 50, marks=pytest.mark.long)], ids=["4 slots", "200 slots"]
)
def test_six_processes_serve_every_slot_exactly_once(rq_fleet: MakeFleet, sources: int, hours: int) -> None:
    """Three tickers and two workers: no slot is served twice, none is missed; SQLite holds the history."""
    with rq_fleet(shops=sources - 1) as racing:
        now = START
        racing.set_clock(now)
        for _ in range(3):
            racing.start_ticker()
        for _ in range(2):
            racing.start_worker()
        for hour in range(1, hours + 1):
            wait_until(lambda hour=hour: len(racing.manifests()) >= hour * sources, 60)
            now = racing.advance(now, hours=1 if hour < hours else 0)
        wait_until(lambda: not racing.rows(where="state IN ('queued', 'running')"), 60)
        served = slots_in(racing)
    assert len(served) == sources * hours
    assert set(served.values()) == {1}
    assert {state for (state,) in racing.rows("state")} == {"succeeded"}
    assert len(racing.rows()) == sources * hours
    assert racing.log() == ""
