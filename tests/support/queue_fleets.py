"""Fleets on each queue backend: the same project, with tickers and workers of RQ, of Django's tasks, or of Celery."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.redis_server import RedisServer
from tests.support.worker_fleet import Fleet

TASKS = """
INSTALLED_APPS += ["django_tasks_db"]
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": []}}
"""
TASKS_ON_RQ = """
INSTALLED_APPS += ["django_tasks_rq"]
TASKS = {"default": {"BACKEND": "django_tasks_rq.RQBackend", "QUEUES": ["default", "backups"]}}
"""
CELERY = """
import celery_app
"""
# As Celery's guide for Django says; with a tick every second.
CELERY_APP = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
from celery import Celery
from django_cfg.backup.celery import beat_schedule

app = Celery("shop", broker={url!r})
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.broker_connection_retry_on_startup = True
app.conf.beat_schedule = beat_schedule()
app.conf.beat_schedule["django-cfg-backup"]["schedule"] = 1.0
"""


class QueueFleet(Fleet):
    """A fleet whose workers are those of *backend*."""

    def __init__(self, backend: str, folder: Path, database: Path, redis: RedisServer, *, more: str = "",
                 **options: Any) -> None:  # fmt: skip
        self.backend = backend
        more = {"tasks": TASKS, "tasks on rq": TASKS_ON_RQ, "celery": CELERY}.get(backend, "") + more
        super().__init__(folder, database, redis, more=more, queue_backend=backend.partition(" ")[0], **options)
        if backend == "celery":
            (folder / "celery_app.py").write_text(CELERY_APP.format(url=redis.url))
        if backend == "tasks":
            done = self.project.run("migrate", "django_tasks_database", "--verbosity=0")
            assert done.returncode == 0, done.stderr

    def start_worker(self, *arguments: str) -> subprocess.Popen[bytes]:
        match self.backend:
            case "tasks":
                options = ("--queue-name=*", "--interval=0.1", "--no-startup-delay", "--verbosity=0")
                return self._start("manage.py", "db_worker", *options, *arguments)
            case "tasks on rq":
                arguments = ("--job-class=django_tasks_rq.Job", *arguments)
            case "celery":
                return self.start_celery("worker", "-Q", "celery,backups", "-c", "2", *arguments)
        return super().start_worker(*arguments)

    def start_celery(self, *arguments: str) -> subprocess.Popen[bytes]:
        return self._start("-m", "celery", "-A", "celery_app", "--quiet", *arguments, "--loglevel=ERROR")

    def tick(self) -> subprocess.CompletedProcess[str]:
        return self.project.run("backup_tick", "--verbosity=0")


@contextmanager
def queue_fleet(backend: str, *arguments: Any, **options: Any) -> Iterator[QueueFleet]:
    made = QueueFleet(backend, *arguments, **options)
    try:
        yield made
    finally:
        made.end()
