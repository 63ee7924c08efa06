"""Starting a job outside of the request: on a queue, as a task, in a process of its own, or with the next tick."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import django
from django.conf import settings
from django.utils.module_loading import import_string

from django_cfg.backup.models import Run
from django_cfg.backup.services.jobs.boards import FileBoard, QueueBoard, sweep_boards
from django_cfg.backup.services.jobs.job import Job, JobState
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.runs.history_database import attempted, find_runs, history_alias, required
from django_cfg.backup.services.schedule import rq

_KINDS = {
    "backup": Run.Kind.BACKUP,
    "verify": Run.Kind.VERIFICATION,
    "drill": Run.Kind.VERIFICATION,
    "restore": Run.Kind.RESTORE,
    "undo": Run.Kind.RESTORE,
    "prune": Run.Kind.PRUNE,
}
_IN_REQUEST = ("ImmediateBackend", "DummyBackend")  # of django.tasks: they run nothing outside of the request
_log = logging.getLogger("django_cfg.backup")


def describe_way(project: Project) -> str:
    """Say where jobs run, for the pages."""
    if rq.has_queues():
        return f"on the queue {project.config.schedule.queue!r}"
    if has_task_backend():
        return "on the task backend of the project"
    return "in a process of its own" if _interpreter() else "with the next tick"


def launch(project: Project, job: Job) -> JobState:
    """Start *job*, and return its state; it does not wait for its end.

    :raises BackupError: it cannot be started.
    """
    sweep_boards()
    if rq.has_queues():
        return _enqueue(project, job)
    if has_task_backend():
        return _hand_to_tasks(job)
    try:
        return _start_process(job)
    except OSError as error:
        _log.warning("No process for the job %s: %s", job, error)
        return _leave_to_tick(project, job)


def has_task_backend() -> bool:
    """Whether Django's tasks (6.0 or newer) run somewhere else than in the request."""
    if django.VERSION < (6, 0):
        return False
    backend = getattr(settings, "TASKS", {}).get("default", {}).get("BACKEND", "")
    return bool(backend) and not backend.endswith(_IN_REQUEST)


def take_waiting(project: Project) -> list[Job]:
    """Take the jobs that wait for a tick, each for the caller alone."""
    wishes = find_runs().filter(project=project.name, env=project.env, state=Run.State.QUEUED).exclude(request="")
    taken: list[Job] = []
    with attempted("look for jobs that wait for a tick") as is_possible:
        if is_possible:
            taken += [
                Job.model_validate_json(row.request)
                for row in wishes.order_by("pk")
                if find_runs().filter(pk=row.pk, state=Run.State.QUEUED).delete()[0]
            ]
    return taken


def _enqueue(project: Project, job: Job) -> JobState:
    schedule = project.config.schedule
    state = _begin(job, f"on the queue {schedule.queue!r}", queue=schedule.queue)
    rq.put_job(schedule.queue, job.model_dump_json(), job.id, str(job), schedule.job_timeout)
    QueueBoard(schedule.queue, job.id).write(state)
    return state


def _hand_to_tasks(job: Job) -> JobState:
    from django.tasks import task  # type: ignore[import-not-found, unused-ignore]  # from Django 6.0 on

    state = _begin(job, "on the task backend of the project")
    task(import_string(rq.JOB_TASK)).enqueue(job.model_dump_json())
    return state


def _start_process(job: Job) -> JobState:
    """A process of its own session: it outlives the request, and the process that serves it."""
    interpreter = _interpreter()
    if not interpreter:
        raise FileNotFoundError("no interpreter of Python is known here")
    board = FileBoard(job.id)
    state = _begin(job, "in a process of its own")
    with board.log.open("wb") as log:
        board.log.chmod(0o600)
        process = subprocess.Popen(
            [interpreter, "-m", "django", "backup_job", job.id],
            env={
                **os.environ,
                **_settings(),
                "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    threading.Thread(target=process.wait, name="backup-job-wait", daemon=True).start()
    return state


def _leave_to_tick(project: Project, job: Job) -> JobState:
    state = _begin(job, "with the next tick")
    alias = job.restore.to if job.restore else (job.undo or job.databases or project.aliases() or ("",))[0]
    row = Run(
        **project.source(alias).model_dump(),
        kind=_KINDS[job.action],
        state=Run.State.QUEUED,
        queued_at=clock.now(),
        started_by=job.by,
        name=job.names[0] if job.action != "prune" and job.names else "",
        request=job.model_dump_json(),
    )
    with required("leave the job to the next tick"):
        row.save(using=history_alias())
    return state


def _begin(job: Job, where: str, queue: str = "") -> JobState:
    state = JobState(job=job, where=where, queue=queue, seen_at=clock.now())
    FileBoard(job.id).write(state)
    return state


def _settings() -> dict[str, str]:
    module = getattr(settings, "SETTINGS_MODULE", None) or os.environ.get("DJANGO_SETTINGS_MODULE")
    if not module:
        raise FileNotFoundError("the settings have no module that another process could import")
    return {"DJANGO_SETTINGS_MODULE": str(module)}


def _interpreter() -> str:
    """The interpreter of this environment; servers that embed Python are none themselves."""
    if Path(sys.executable or "").name.startswith(("python", "pypy")):
        return sys.executable
    return shutil.which("python3", path=str(Path(sys.prefix, "bin"))) or ""
