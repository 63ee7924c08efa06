"""What workers of Django's tasks run: from Django 6.0 on, before it with the package django-tasks.

They import the task itself by its path.
"""

from __future__ import annotations

import django

from django_cfg.backup import tasks
from django_cfg.backup.models import Run
from django_cfg.backup.services.jobs.boards import FileBoard
from django_cfg.backup.services.jobs.job import Job
from django_cfg.backup.services.jobs.perform import perform_once
from django_cfg.backup.services.schedule.queues import serve_claim
from django_cfg.backup.services.schedule.task_queue import choose_queue, find_backend

if django.VERSION >= (6, 0):
    from django.tasks import task  # type: ignore[import-not-found, unused-ignore]
else:
    from django_tasks import task  # type: ignore[import-not-found, no-redef, unused-ignore]

_QUEUE = choose_queue(find_backend().queues, "default")


@task(queue_name=_QUEUE)
def run_job(text: str) -> str:
    """Do a job that a person has asked for in the admin; its last state as JSON, empty if it was done before.

    :param text: the job as JSON.
    """
    job = Job.model_validate_json(text)
    ended = perform_once(job, FileBoard(job.id), "on the task backend of the project")
    return ended.model_dump_json() if ended else ""


@task(queue_name=_QUEUE)
def run_backup(run: int, database: str, claimed: str) -> str:
    """Make the backup that a tick has claimed; its name, empty if the claim is no longer waiting."""
    return serve_claim(Run.Kind.BACKUP, run, database, claimed)


@task(queue_name=_QUEUE)
def run_verification(run: int, database: str, claimed: str) -> str:
    """Verify the newest backup, as a tick has claimed; its name, empty if the claim is no longer waiting."""
    return serve_claim(Run.Kind.VERIFICATION, run, database, claimed)


@task(queue_name=_QUEUE)
def run_copies() -> int:
    """Copy what is missing in a place; the number of copies."""
    return tasks.run_copies()
