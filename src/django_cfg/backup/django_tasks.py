"""What workers of Django's tasks run; needs Django 6.0. They import the task itself by its path."""

from __future__ import annotations

from django.tasks import task, task_backends  # type: ignore[import-not-found, unused-ignore]

from django_cfg.backup.services.jobs.boards import FileBoard
from django_cfg.backup.services.jobs.job import Job
from django_cfg.backup.services.jobs.perform import perform_once

_queues = task_backends["default"].queues
_QUEUE = "default" if not _queues or "default" in _queues else min(_queues)


@task(queue_name=_QUEUE)
def run_job(text: str) -> str:
    """Do a job that a person has asked for in the admin; its last state as JSON, empty if it was done before.

    :param text: the job as JSON.
    """
    job = Job.model_validate_json(text)
    ended = perform_once(job, FileBoard(job.id), "on the task backend of the project")
    return ended.model_dump_json() if ended else ""
