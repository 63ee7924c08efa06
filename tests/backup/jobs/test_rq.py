"""Jobs on RQ, with a real Redis and real workers: their state is in Redis, for the worker may be on another machine."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from django_cfg.backup.errors import QueueUnavailable
from django_cfg.backup.services.jobs import perform as performing
from django_cfg.backup.services.jobs.boards import QueueBoard
from django_cfg.backup.services.jobs.find import find_board
from django_cfg.backup.services.jobs.job import Job, JobState, RestoreChoice
from django_cfg.backup.services.jobs.launch import launch
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.schedule import rq
from django_cfg.backup.tasks import run_job
from tests.support.django_project import Site
from tests.support.processes import wait_until
from tests.support.real_project import SLOW
from tests.support.redis_server import RedisServer
from tests.support.rq_jobs import jobs
from tests.support.server_process import free_port
from tests.support.worker_fleet import Fleet, MakeFleet


@pytest.fixture(autouse=True)
def _own_temporary_folder(temporary: Path) -> None:
    """The files of jobs are of this test alone."""


@pytest.fixture
def queued(site: Site, books: Path, redis_server: RedisServer) -> Site:
    with redis_server.connect() as client:
        client.flushall()
    site.set(RQ_QUEUES={name: {"URL": redis_server.url} for name in ("default", "backups")})
    site.configure(schedule={"cron": "0 2 * * *", "queue": "backups"}, compression="none")
    return site


def state_of(job: Job) -> JobState | None:
    found = find_board(current_project(), job.id)
    return found[1] if found else None


class TestQueue:
    def test_a_job_waits_on_the_queue_and_leaves_no_file(self, queued: Site, temporary: Path) -> None:
        job = Job(action="backup", by="ada", note="for the sale")
        state = launch(current_project(), job)
        assert (state.phase, state.where) == ("waiting", "on the queue 'backups'")
        (on_queue,) = jobs()
        assert {type(argument) for argument in on_queue.args} == {str}
        assert on_queue.description == "Backup of all databases"
        assert state_of(job) == state
        assert not state.is_silent(state.seen_at.replace(year=state.seen_at.year + 1)), "a worker may take its time"
        assert [path for path in temporary.rglob("*") if path.is_file()] == []

    def test_a_job_runs_once_whatever_the_queue_delivers(self, queued: Site) -> None:
        """Somebody may requeue a failed job in RQ, days later: no restore happens then."""
        job = Job(action="backup", by="ada")
        launch(current_project(), job)
        (on_queue,) = jobs()
        assert run_job(*on_queue.args) == "succeeded"
        before = queued.stored()
        assert run_job(*on_queue.args) == ""
        assert queued.stored() == before
        state = state_of(job)
        assert state is not None
        assert state.phase == "succeeded"

    def test_a_job_that_is_cancelled_while_it_waits_does_nothing(self, queued: Site) -> None:
        job = Job(action="backup", by="ada")
        launch(current_project(), job)
        QueueBoard("backups", job.id).cancel("ben")
        assert run_job(*jobs()[0].args) == "cancelled"
        assert queued.stored() == []
        state = state_of(job)
        assert state is not None
        assert state.message == "Cancelled by ben."

    def test_no_secret_is_in_redis(self, queued: Site, redis_server: RedisServer) -> None:
        queued.set(SECRET_KEY="the-secret-of-the-site")
        launch(current_project(), Job(action="backup", by="ada"))
        run_job(*jobs()[0].args)
        with redis_server.connect() as client:
            for key in client.scan_iter():
                assert b"the-secret-of-the-site" not in (client.dump(key) or b""), key

    @pytest.mark.parametrize("status", ["failed", "canceled", "stopped"])
    def test_a_job_that_rq_has_given_up_is_failed(self, queued: Site, status: str) -> None:
        """Its worker was killed, or could not import it: the state would say "waiting" for ever."""
        job = Job(action="backup", by="ada")
        launch(current_project(), job)
        jobs()[0].set_status(status)
        state = state_of(job)
        assert state is not None
        assert (state.phase, f"is {status} in RQ" in state.message) == ("failed", True)

    def test_a_job_that_redis_has_lost(self, queued: Site) -> None:
        job = Job(action="backup", by="ada")
        launch(current_project(), job)
        jobs()[0].delete()
        state = state_of(job)
        assert state is not None
        assert (state.phase, "RQ knows it no longer" in state.message) == ("failed", True)

    def test_garbage_in_redis_is_no_job(self, queued: Site) -> None:
        job = Job(action="backup", by="ada")
        rq.write_note("backups", rq.job_id_of(job.id), "state", "{no json")
        assert state_of(job) is None


class TestRedisAway:
    def test_a_job_is_not_started(self, queued: Site, temporary: Path) -> None:
        queued.set(RQ_QUEUES={"backups": {"URL": f"redis://127.0.0.1:{free_port()}/0"}})
        with pytest.raises(QueueUnavailable, match="look after Redis"):
            launch(current_project(), Job(action="backup", by="ada"))
        assert [path for path in temporary.rglob("*") if path.is_file()] == []

    def test_a_page_does_not_wait_for_a_silent_redis(self, queued: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """A broken network: connections are accepted, or not even refused, and nothing is ever answered."""
        monkeypatch.setattr(rq, "_PATIENCE", 0.5)
        with silent_server() as port:
            queued.set(RQ_QUEUES={"backups": {"URL": f"redis://127.0.0.1:{port}/0"}})
            begun = time.monotonic()
            assert state_of(Job(action="backup", by="ada")) is None
            with pytest.raises(QueueUnavailable, match="has not answered within"):
                launch(current_project(), Job(action="backup", by="ada"))
            assert time.monotonic() - begun < 10

    def test_a_redis_that_is_away_in_the_middle_does_not_harm_the_job(
        self, queued: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(performing, "_PAUSES", (0.0, 0.1))
        (tmp_path / "redis").mkdir()
        own = RedisServer(tmp_path / "redis")
        queued.set(RQ_QUEUES={"backups": {"URL": own.url}})
        job = Job(action="backup", by="ada")
        launch(current_project(), job)
        (on_queue,) = jobs()
        board = QueueBoard("backups", job.id)
        assert board.take()
        own.stop()
        ended = performing.perform(job, board, on_queue.origin, "backups")
        assert ended.phase == "succeeded"
        assert len(queued.stored()) == 2


@contextmanager
def silent_server() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


class Machine:
    """The machine of the worker: a project of its own folder, with another folder of temporary files."""

    def __init__(self, made: Fleet, site: Site) -> None:
        self.fleet, self.site = made, site

    def perform(self, job: Job) -> JobState:
        launch(current_project(), job)
        return self.end_of(job)

    def end_of(self, job: Job) -> JobState:
        wait_until(lambda: (state := state_of(job)) and state.has_ended, 60)
        state = state_of(job)
        assert state is not None
        return state


@contextmanager
def worker(rq_fleet: MakeFleet, site: Site, folder: Path, **options: str) -> Iterator[Machine]:
    with rq_fleet(site.database, **options) as made:
        shutil.rmtree(folder / "worker-tmp", ignore_errors=True)
        (folder / "worker-tmp").mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TMPDIR", str(folder / "worker-tmp"))
            made.start_worker()
        yield Machine(made, site)


def test_each_action_on_a_worker_is_followed_from_elsewhere(rq_fleet: MakeFleet, queued: Site, tmp_path: Path) -> None:
    with worker(rq_fleet, queued, tmp_path) as machine:
        made = machine.perform(Job(action="backup", by="ada", note="x"))
        assert (made.phase, made.where) == ("succeeded", "on the queue 'backups'")
        (name,) = made.result["names"]
        for action in ("verify", "drill", "prune"):
            ended = machine.perform(Job(action=action, by="ben", names=(name,)))
            assert ended.phase == "succeeded", ended.message
        restored = machine.perform(Job(action="restore", by="ben", names=(name,), restore=RestoreChoice(to="default")))
        assert (restored.phase, bool(restored.result["old_data"])) == ("succeeded", True)
        kept = restored.result["old_data"]
        undone = machine.perform(Job(action="undo", by="cleo", undo=("default", kept)))
        assert undone.message.startswith("default is again as it was before the restore.")
        assert undone.phase == "succeeded"
        assert machine.fleet.rows("kind, state, started_by")[-1] == ("restore", "succeeded", "cleo")
        assert "Traceback" not in machine.fleet.log()


def test_a_job_on_a_worker_is_cancelled_from_elsewhere(rq_fleet: MakeFleet, queued: Site, tmp_path: Path) -> None:
    with worker(rq_fleet, queued, tmp_path, more=SLOW) as machine:
        job = Job(action="backup", by="ada")
        launch(current_project(), job)
        wait_until((machine.fleet.folder / "writing").exists, 60)
        found = find_board(current_project(), job.id)
        assert found is not None
        found[0].cancel("ben")
        ended = machine.end_of(job)
        assert (ended.phase, "was cancelled by ben" in ended.message) == ("cancelled", True)
        wait_until(lambda: machine.fleet.rows("state") == [("cancelled",)])
        assert machine.fleet.project.stored() == []


def test_a_killed_work_horse_is_reported(rq_fleet: MakeFleet, queued: Site, tmp_path: Path) -> None:
    with worker(rq_fleet, queued, tmp_path, more=SLOW) as machine:
        job = Job(action="backup", by="ada")
        launch(current_project(), job)
        wait_until((machine.fleet.folder / "writing").exists, 60)
        (process,) = [process for process in machine.fleet._running if process.poll() is None]
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        ended = machine.end_of(job)
        assert (ended.phase, "is failed in RQ" in ended.message) == ("failed", True)
