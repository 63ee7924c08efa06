"""The same schedule on each queue backend: RQ, Django's tasks, Celery. The claim decides, whatever a queue delivers."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import is_running, is_watched, wait_until
from tests.support.queue_fleets import QueueFleet, queue_fleet
from tests.support.redis_server import RedisServer
from tests.support.stopped_clock import START

BACKENDS = ["rq", "tasks", "tasks on rq", "celery"]
# A compressor that never ends, and writes its process id.
STUCK = """\
#!/bin/sh
echo $$ > {folder}/new && mv {folder}/new {folder}/writing
sleep 600
"""
Start = Callable[..., Any]


@pytest.fixture
def worker_fleets(tmp_path: Path, migrated_database: Path, redis_server: RedisServer) -> Iterator[Start]:
    """Starts fleets; their processes end with the test."""

    @contextmanager
    def start(backend: str, **options: Any) -> Iterator[QueueFleet]:
        with queue_fleet(backend, tmp_path / "project", migrated_database, redis_server, **options) as made:
            made.set_clock(START)
            yield made

    return start


@contextmanager
def stuck_fleet(start: Start, backend: str, folder: Path, **options: Any) -> Iterator[QueueFleet]:
    """A fleet whose compressor is stuck."""
    programs = folder / "programs"
    programs.mkdir()
    with start(backend, compression="bz2", **options) as made:
        (programs / "lbzip2").write_text(STUCK.format(folder=made.folder))
        (programs / "lbzip2").chmod(0o755)
        made.project.path = f"{programs}:{made.project.path}"
        yield made


def slots_in(fleet: QueueFleet) -> Counter[tuple[str, str]]:
    """How often each slot of each source was served, by the manifests."""
    documents = [json.loads(path.read_text()) for path in fleet.manifests()]
    return Counter((document["source"]["database"], document["slot"]) for document in documents)


def assert_no_errors(fleet: QueueFleet) -> None:
    """Celery's worker prints a warning about root, and that it ends."""
    if fleet.backend == "celery":
        assert not [line for line in fleet.log().splitlines() if "ERROR" in line or "Traceback" in line]
    else:
        assert fleet.log() == ""


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_slot_is_served_exactly_once(worker_fleets: Start, backend: str) -> None:
    """Two tickers and two workers; of three hours and two databases each slot is made once."""
    with worker_fleets(backend, shops=1) as fleet:
        now = START
        for _ in range(2):
            fleet.start_ticker()
            fleet.start_worker()
        for hour in range(1, 4):
            wait_until(lambda hour=hour: len(fleet.manifests()) >= hour * 2, 60)
            now = fleet.advance(now, hours=1 if hour < 3 else 0)
        wait_until(lambda: not fleet.rows(where="state IN ('queued', 'running')"), 60)
        served = slots_in(fleet)
        assert_no_errors(fleet)  # an idle worker of RQ that is ended in a request to Redis reports that
    assert len(served) == 6
    assert set(served.values()) == {1}
    assert [state for (state,) in fleet.rows("state")] == ["succeeded"] * 6


@pytest.mark.parametrize("backend", ["tasks", "celery"])
def test_verifications_run_on_the_backend_too(worker_fleets: Start, backend: str) -> None:
    verification = {"enabled": True, "schedule": {"cron": "30 * * * *", "queue": "backups"}}
    with worker_fleets(backend, verification=verification) as fleet:
        fleet.start_ticker()
        fleet.start_worker()
        both = [("backup", "succeeded"), ("verification", "succeeded")]
        wait_until(lambda: fleet.rows("kind, state") == both, 60)


@pytest.mark.parametrize("backend", ["tasks", "celery"])
def test_a_run_that_exceeds_its_timeout_leaves_no_child_process(
    worker_fleets: Start, tmp_path: Path, backend: str
) -> None:
    schedule = {"cron": "0 * * * *", "queue": "backups", "job_timeout": 3}
    with stuck_fleet(worker_fleets, backend, tmp_path, schedule=schedule) as slow:
        slow.start_ticker()
        slow.start_worker()
        wait_until(lambda: slow.rows("state") == [("failed",)], 60)
        child = int((slow.folder / "writing").read_text())
        wait_until(lambda: not is_running(child))
        ((message,),) = slow.rows("message")
        assert "took longer than 3 s and was ended" in message
        assert slow.project.stored() == []


def test_a_task_that_is_delivered_twice_makes_one_backup(worker_fleets: Start) -> None:
    """To two workers at once, and again when the backup is made."""
    again = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
import django
django.setup()
from django_cfg.backup.django_tasks import run_backup
from django_cfg.backup.models import Run
run = Run.objects.get()
for _ in range(int(sys.argv[1])):
    run_backup.using(queue_name="backups").enqueue(run.pk, run.database, run.queued_at.isoformat())
"""
    with worker_fleets("tasks") as fleet:
        (fleet.folder / "again.py").write_text(again)
        assert fleet.tick().returncode == 0
        assert fleet._start("again.py", "3").wait(60) == 0
        workers = [fleet.start_worker("--batch") for _ in range(2)]
        assert [worker.wait(60) for worker in workers] == [0, 0]
        assert fleet._start("again.py", "1").wait(60) == 0
        assert fleet.start_worker("--batch").wait(60) == 0
    assert len(fleet.manifests()) == 1
    assert fleet.rows("state") == [("succeeded",)]
    assert fleet.log() == ""


class TestCelery:
    def test_beat_makes_the_ticks(self, worker_fleets: Start) -> None:
        """The one entry of beat_schedule(), the workers, and no other ticker."""
        with worker_fleets("celery") as fleet:
            fleet.start_worker()
            fleet.start_celery("beat", "--schedule", str(fleet.folder / "beat"))
            wait_until(fleet.manifests, 60)
            wait_until(lambda: fleet.rows("state") == [("succeeded",)])

    def test_a_message_that_is_delivered_twice_makes_one_backup(self, worker_fleets: Start) -> None:
        """As after the visibility timeout of Redis: at once to two workers, and again when the backup is made."""
        again = """
import celery_app, django, sys
django.setup()
from django_cfg.backup.celery import run_backup
from django_cfg.backup.models import Run
run = Run.objects.get()
for _ in range(int(sys.argv[1])):
    run_backup.apply_async((run.pk, run.database, run.queued_at.isoformat()), queue="backups")
"""
        with worker_fleets("celery") as fleet:
            (fleet.folder / "again.py").write_text(again)
            assert fleet.tick().returncode == 0
            assert fleet._start("again.py", "3").wait(60) == 0
            fleet.start_worker()
            fleet.start_worker()
            wait_until(lambda: fleet.rows("state") == [("succeeded",)], 60)
            assert fleet._start("again.py", "1").wait(60) == 0
            wait_until(lambda: self.waiting(fleet) == 0, 60)
            for worker in fleet._running[-3:-1]:
                worker.terminate()  # it ends when its task has
                assert worker.wait(60) == 0
        assert len(fleet.manifests()) == 1
        assert fleet.rows("state") == [("succeeded",)]
        assert_no_errors(fleet)

    def waiting(self, fleet: QueueFleet) -> int:
        with fleet.redis.connect() as client:
            return int(client.llen("backups"))

    def test_the_time_limits_of_other_tasks_do_not_end_a_backup(self, worker_fleets: Start, tmp_path: Path) -> None:
        """Projects limit their tasks to a minute or less, and a backup may take hours."""
        limits = "CELERY_TASK_TIME_LIMIT = 2\nCELERY_TASK_SOFT_TIME_LIMIT = 1\n"
        schedule = {"cron": "0 * * * *", "queue": "backups", "job_timeout": 6}
        with stuck_fleet(worker_fleets, "celery", tmp_path, schedule=schedule, more=limits) as slow:
            slow.start_ticker()
            slow.start_worker()
            wait_until(lambda: slow.rows("state") == [("failed",)], 60)
            ((message,),) = slow.rows("message")
            assert "took longer than 6 s and was ended" in message

    def test_a_worker_that_is_killed_during_a_dump(self, worker_fleets: Start, tmp_path: Path) -> None:
        """The next tick fails the run, the children of the dump end, and the next slot is served."""
        with stuck_fleet(worker_fleets, "celery", tmp_path) as killed:
            killed.start_ticker()
            worker = killed.start_worker("--pool=solo")
            wait_until((killed.folder / "writing").exists, 60)
            child = int((killed.folder / "writing").read_text())
            wait_until(lambda: is_watched(child, by=worker.pid))
            os.kill(worker.pid, signal.SIGKILL)
            wait_until(lambda: not is_running(child))
            wait_until(lambda: killed.rows("state") == [("failed",)], 60)
            (tmp_path / "programs" / "lbzip2").unlink()
            killed.start_worker()
            killed.advance(START, hours=1)
            wait_until(lambda: killed.rows("state") == [("failed",), ("succeeded",)], 60)
            assert len(killed.manifests()) == 1

    def test_a_lost_message_is_sent_again(self, worker_fleets: Start) -> None:
        """Redis was emptied while the claim waited."""
        with worker_fleets("celery") as fleet:
            assert "put on its queue" in fleet.tick().stdout
            assert self.waiting(fleet) == 1
            with fleet.redis.connect() as client:
                client.flushall()
            fleet.advance(START, minutes=10)
            fleet.tick()
            assert self.waiting(fleet) == 0, "it may just have been taken"
            fleet.advance(START, minutes=16)
            fleet.tick()
            assert self.waiting(fleet) == 1
            fleet.start_worker()
            wait_until(lambda: fleet.rows("state") == [("succeeded",)], 60)

    def test_a_broker_that_cannot_be_reached_is_a_problem_of_the_tick(self, worker_fleets: Start) -> None:
        """The claim waits, and nothing runs in the process of the tick instead; the next tick sends it."""
        with worker_fleets("celery") as fleet:
            app = fleet.folder / "celery_app.py"
            good = app.read_text()
            app.write_text(good.replace(fleet.redis.url, "redis://:hunter2secret@127.0.0.1:1/0"))
            answer = fleet.tick()
            assert answer.returncode == 1
            assert "The broker of Celery cannot be reached" in answer.stderr
            assert "hunter2secret" not in answer.stderr + answer.stdout
            assert (fleet.rows("state, enqueued_at"), fleet.manifests()) == ([("queued", None)], [])
            app.write_text(good)
            assert fleet.tick().returncode == 0
            assert self.waiting(fleet) == 1
