"""Claims on Celery, seen from a tick: what is sent, and what is refused. The broker is a real Redis."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, current_app

from django_cfg.backup.models import Run
from django_cfg.backup.services.catalog.places import list_backups
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.runs.file_lock import source_lock
from django_cfg.backup.services.schedule.queues import serve_claim
from django_cfg.backup.services.schedule.tick import tick
from tests.support.django_project import Site
from tests.support.redis_server import RedisServer
from tests.support.rq_jobs import clean
from tests.support.server_process import free_port
from tests.support.stopped_clock import Clock


@pytest.fixture
def celery_app(hourly: Site, redis_server: RedisServer) -> Iterator[Any]:
    """The project's app, on an empty Redis; backups go to "backups"."""
    with redis_server.connect() as client:
        client.flushall()
    before = current_app._get_current_object()
    app = Celery("tests", broker=redis_server.url)  # of this thread
    app.set_default()  # of the others, as the first app of a Django project is
    hourly.configure(queue_backend="celery", schedule={"cron": "0 * * * *", "queue": "backups"})
    yield app
    app.close()
    before.set_current()
    before.set_default()


def messages(server: RedisServer, queue: str = "backups") -> list[dict[str, Any]]:
    with server.connect() as client:
        return [json.loads(text) for text in client.lrange(queue, 0, -1)]


def arguments_of(message: dict[str, Any]) -> list[Any]:
    (arguments, _, _) = json.loads(b64decode(message["body"]))
    return list(arguments)


def test_a_due_backup_becomes_one_message(celery_app: Any, redis_server: RedisServer) -> None:
    """On its schedule's queue, with plain arguments, and it expires: nothing runs here."""
    assert clean(tick()).enqueued == ["default"]
    for _ in range(2):
        assert clean(tick()).enqueued == []
    (message,) = messages(redis_server)
    assert message["headers"]["task"] == "django_cfg.backup.celery.run_backup"
    assert message["headers"]["expires"]
    arguments = arguments_of(message)
    assert {type(argument) for argument in arguments} <= {int, str}
    assert list_backups() == []
    name = serve_claim(Run.Kind.BACKUP, *arguments)
    assert [manifest.name for manifest in list_backups()] == [name]
    assert serve_claim(Run.Kind.BACKUP, *arguments) == ""
    assert len(list_backups()) == 1


def test_the_queue_default_is_the_one_of_the_app(celery_app: Any, hourly: Site, redis_server: RedisServer) -> None:
    """Celery's is named "celery"; a message for "default" would find no worker."""
    hourly.configure(queue_backend="celery", schedule={"cron": "0 * * * *"})
    tick()
    assert len(messages(redis_server, "celery")) == 1
    assert messages(redis_server, "default") == []


def test_a_claim_that_had_to_wait_is_sent_again_with_the_next_tick(celery_app: Any, redis_server: RedisServer) -> None:
    """Another backup of the database went on when its message came."""
    tick()
    (message,) = messages(redis_server)
    project = current_project()
    with source_lock(project, project.source("default"), Run.Kind.BACKUP):
        assert serve_claim(Run.Kind.BACKUP, *arguments_of(message)) == ""
    assert clean(tick()).enqueued == ["default"]
    assert len(messages(redis_server)) == 2


def test_a_message_is_sent_again_after_a_while(celery_app: Any, redis_server: RedisServer, time: Clock) -> None:
    """Whether it was lost cannot be asked; until then it has expired, if it waits."""
    tick()
    time.advance(minutes=14)
    assert clean(tick()).enqueued == []
    time.advance(minutes=2)
    assert clean(tick()).enqueued == ["default"]


def test_an_app_that_runs_tasks_in_place_is_refused(celery_app: Any) -> None:
    celery_app.conf.task_always_eager = True
    (problem,) = tick().problems
    assert "task_always_eager is set" in str(problem)
    assert list_backups() == []


def test_without_an_app_nothing_is_sent_to_a_broker_that_was_not_named(celery_app: Any) -> None:
    """As where the package of the project does not import its celery.py; amqp://localhost is Celery's default."""
    Celery("other").set_current()
    (problem,) = tick().problems
    assert "No Celery app with a broker is loaded here" in str(problem)
    assert [row.enqueued_at for row in Run.objects.all()] == [None]


class TestCheck:
    def queues(self, site: Site) -> list[tuple[str, str]]:
        lines = site.call("backup_check", "--json").json
        return [(line["level"], line["text"]) for line in lines if line["subject"] == "queue"]

    def test_no_worker_is_a_warning(self, celery_app: Any, hourly: Site) -> None:
        ((level, text),) = self.queues(hourly)
        assert (level, text.partition(",")[0]) == ("WARNING", "no worker of Celery answers")

    def test_a_broker_that_is_away_fails(self, celery_app: Any, hourly: Site) -> None:
        celery_app.conf.broker_url = f"redis://:hunter2secret@127.0.0.1:{free_port()}/0"
        ((level, text),) = self.queues(hourly)
        assert (level, "cannot be reached" in text, "hunter2secret" in text) == ("FAILED", True, False)
