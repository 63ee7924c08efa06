"""Starting a job outside of the request: on a queue, as a task, in a process of its own, or with the next tick."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from django.conf import settings
from pydantic import ValidationError

from django_cfg.backup.errors import BackupError
from django_cfg.backup.models import Run
from django_cfg.backup.process.private_dir import create_private
from django_cfg.backup.process.threads import start_thread
from django_cfg.backup.services.jobs.boards import FileBoard, QueueBoard, sweep_boards
from django_cfg.backup.services.jobs.job import Job, JobPhase, JobState
from django_cfg.backup.services.jobs.task_backend import has_task_backend, put_task
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.runs.history_database import (
    attempted,
    find_runs,
    history_alias,
    required,
    retry_while_locked,
)
from django_cfg.backup.services.schedule import rq

_log = logging.getLogger("django_cfg.backup")


def describe_way(project: Project) -> str:
    """Say where jobs run, for the pages."""
    if _has_queues(project):
        return f"on the queue {project.config.schedule.queue!r}"
    if _has_tasks(project):
        return "on the task backend of the project"
    try:
        _command()
    except OSError:
        return "with the next tick"
    return "in a process of its own"


def _has_queues(project: Project) -> bool:
    return project.config.queue_backend in (None, "rq") and rq.has_queues()


def _has_tasks(project: Project) -> bool:
    """With Celery, jobs of the admin run in a process of their own."""
    chosen = project.config.queue_backend
    return chosen in (None, "tasks") and has_task_backend(is_chosen=chosen == "tasks")


def launch(project: Project, job: Job) -> JobState:
    """Start *job*, and return its state; it does not wait for its end.

    :raises BackupError: it cannot be started.
    """
    if _has_queues(project):
        return _enqueue(project, job)
    sweep_boards()
    if _has_tasks(project):
        return _hand_to_tasks(job)
    try:
        return _start_process(job)
    except OSError as error:
        _log.warning("No process for the job %s: %s", job, error)
        return _leave_to_tick(project, job)


def take_waiting(project: Project) -> Iterator[Job]:
    """Take the jobs that wait for a tick one after the other, each when it is asked for, and for the caller alone."""
    wishes = find_runs().filter(project=project.name, env=project.env, state=Run.State.QUEUED).exclude(request="")
    while True:
        request = ""
        with attempted("look for jobs that wait for a tick") as is_possible:
            row = wishes.order_by("pk").first() if is_possible else None
            if row and retry_while_locked(find_runs().filter(pk=row.pk, state=Run.State.QUEUED).delete)[0]:
                request = row.request
            elif row:
                continue  # another tick was faster
        if not request:
            return
        if job := _understood(request):
            yield job


def _understood(request: str) -> Job | None:
    """The job of a row that a tick has taken; None: it is not to be done."""
    try:
        return Job.model_validate_json(request)
    except ValidationError:
        _log.error("What waited for a tick is no job that this version knows; start it again in the admin.")
        return None


def _enqueue(project: Project, job: Job) -> JobState:
    """The state first: a worker may begin, and even end, before this process goes on."""
    schedule = project.config.schedule
    where = f"on the queue {schedule.queue!r}"
    state = JobState(job=job, where=where, queue=schedule.queue, may_wait=True, seen_at=clock.now())
    QueueBoard(schedule.queue, job.id).write(state)
    rq.put_job(schedule.queue, job.model_dump_json(), job.id, str(job), schedule.job_timeout)
    return state


def _hand_to_tasks(job: Job) -> JobState:
    """The worker may run here, and then writes the file, or elsewhere, and then the result says how it ended."""
    state = _begin(job, "on the task backend of the project", may_wait=True)
    result = put_task(job.model_dump_json())
    board, known = FileBoard(job.id), state.model_copy(update={"task": result})
    current = board.read()
    if current and current.phase is JobPhase.WAITING:  # else a worker of this machine writes there
        board.write(known)
    return known


def _start_process(job: Job) -> JobState:
    """A process of its own session: it outlives the request, and the process that serves it."""
    command = _command()
    board = FileBoard(job.id)
    state = _begin(job, "in a process of its own")
    with create_private(board.log) as log:
        process = subprocess.Popen(
            [*command, job.id],
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": str(settings.SETTINGS_MODULE),
                "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    with suppress(BackupError):  # the job goes on, watched or not
        start_thread(partial(_watch, process, board), "backup-job-wait")
    return state


def _watch(process: subprocess.Popen[bytes], board: FileBoard) -> None:
    """Wait for the process, so that no zombie stays, and write the end of a job that could not do so itself."""
    code = process.wait()
    state = board.read()
    if state and not state.has_ended:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        board.write(state.ended(JobPhase.FAILED, f"Its process {how}. What it printed is in {board.log}."))


def _leave_to_tick(project: Project, job: Job) -> JobState:
    state = _begin(job, "with the next tick", may_wait=True)
    alias = job.restore.to if job.restore else (job.undo or job.databases or project.aliases() or ("",))[0]
    row = Run(
        **project.source(alias).model_dump(),
        kind=job.kind,
        state=Run.State.QUEUED,
        queued_at=clock.now(),
        started_by=job.by,
        name=job.names[0] if job.action != "prune" and job.names else "",
        request=job.model_dump_json(),
    )

    def save() -> JobState:
        row.save(using=history_alias())
        known = state.model_copy(update={"row": row.pk})
        FileBoard(job.id).write(known)  # before the transaction ends: a tick cannot have taken the job
        return known

    with required("leave the job to the next tick"):
        return retry_while_locked(save)


def _begin(job: Job, where: str, *, may_wait: bool = False) -> JobState:
    state = JobState(job=job, where=where, may_wait=may_wait, seen_at=clock.now())
    FileBoard(job.id).write(state)
    return state


def _command() -> list[str]:
    """
    :raises FileNotFoundError: no process can be started here that has the same settings.
    """
    interpreter = _interpreter()
    if not interpreter:
        raise FileNotFoundError("no interpreter of Python is known here")
    if not getattr(settings, "SETTINGS_MODULE", None):
        raise FileNotFoundError("the settings have no module that another process could import")
    return [interpreter, "-P", "-m", "django", "backup_job"]  # -P: nothing is imported from where it happens to run


def _interpreter() -> str:
    """The interpreter of this environment; servers that embed Python are none themselves."""
    if Path(sys.executable or "").name.startswith(("python", "pypy")):
        return sys.executable
    return shutil.which("python3", path=str(Path(sys.prefix, "bin"))) or ""
