"""Putting claims on RQ queues. The database row decides, not the job."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

from django.conf import settings

from django_cfg.backup.config.schedule import BackupScheduleConfig
from django_cfg.backup.engines.base import Finding, Level
from django_cfg.backup.errors import BackupError, ConfigurationError, DumpFailed, QueueUnavailable
from django_cfg.backup.formatting import counted
from django_cfg.backup.models import Run
from django_cfg.backup.process.threads import InThread
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.runs.history_database import find_runs
from django_cfg.backup.services.schedule.claims import abandon_claim

if TYPE_CHECKING:
    from rq.job import Job
    from rq.queue import Queue

_TASKS = "django_cfg.backup.tasks"  # run_backup, run_verification, run_copies, and run_job, what a person has asked for
_PATIENCE = 3.0  # seconds for one answer of Redis about a job
_UNDER_WAY = ("queued", "started", "deferred", "scheduled", "created", "rate_limited", "ready_to_enqueue")
_REMEMBERED = timedelta(days=14)  # failed jobs, by Redis: longer than any job_timeout, and no year, as is rq's default
_MANY = 5  # failed jobs of one claim, one after the other: no accident any more
_LOST_AFTER = timedelta(minutes=5)  # a worker takes a job from its queue a moment before it says so
T = TypeVar("T")


def has_queues() -> bool:
    """Whether this project runs backups on RQ."""
    return bool(getattr(settings, "RQ_QUEUES", None))


def check_queues(project: Project) -> Iterator[Finding]:
    """Check that the queues of scheduled runs and ticks can be reached, and that workers take jobs from them."""
    from rq.worker import Worker

    for name in project.queues():
        try:
            with _queue(name) as queue:
                workers = Worker.count(queue=queue)
        except BackupError as error:
            yield Finding(Level.FAILED, "queue", str(error))
            continue
        if workers:
            yield Finding(Level.OK, "queue", f"{name!r} answers, {counted(workers, 'worker')}")
        else:
            text = f"no worker takes jobs from {name!r}, so scheduled runs wait: start `manage.py rqworker {name}`"
            yield Finding(Level.WARNING, "queue", text)


def known_queues(project: Project) -> list[str]:
    """The queues that jobs of this project may be on."""
    return [project.config.schedule.queue] if has_queues() else []


def put_job(queue: str, text: str, number: str, description: str, timeout: int) -> None:
    """Put the job *text* (JSON) on *queue*.

    :raises BackupError: the queue cannot be reached, or is none of the project's.
    """
    with _queue(queue) as found:
        found.enqueue_call(
            f"{_TASKS}.run_job",
            args=(text, queue),
            timeout=timeout,
            job_id=job_id_of(number),
            failure_ttl=int(_REMEMBERED.total_seconds()),
            description=description,
        )


def job_id_of(number: str) -> str:
    """Return the id of a job that a person has asked for."""
    return f"backup-job-{number}"


def write_note(queue: str, job_id: str, name: str, text: str) -> None:
    """Keep *text* next to a job for two weeks."""

    def write(found: Queue) -> None:
        found.connection.hset(_notes(job_id), name, text)
        found.connection.expire(_notes(job_id), _REMEMBERED)

    _ask(queue, write)


def write_first_note(queue: str, job_id: str, name: str, text: str) -> bool:
    """Keep *text* next to a job; False: there is one of that *name* already."""

    def write(found: Queue) -> bool:
        is_first = bool(found.connection.hsetnx(_notes(job_id), name, text))
        found.connection.expire(_notes(job_id), _REMEMBERED)
        return is_first

    return _ask(queue, write)


def read_note(queue: str, job_id: str, name: str) -> str:
    """Return a text that is kept next to a job; empty if there is none."""
    text = _ask(queue, lambda found: found.connection.hget(_notes(job_id), name))
    return text.decode(errors="replace") if isinstance(text, bytes) else ""


def describe_end(queue: str, job_id: str) -> str:
    """Return why a job does not go on that has not said so itself; empty if it goes on, as far as RQ knows."""
    job = _ask(queue, lambda found: found.fetch_job(job_id))
    if job is None:
        return "RQ knows it no longer: Redis has lost it, or it was deleted. The page Runs says whether it has begun."
    status = _status(job)
    if status in _UNDER_WAY or status == "finished":
        return ""
    return (
        f"Its job on the queue {queue!r} is {status} in RQ: the worker was ended, or lacks the code or the settings. "
        "The log of the worker has more."
    )


def _status(job: Job) -> str:
    status = job.get_status(refresh=False)
    return str(getattr(status, "value", status))


def _ask(queue: str, call: Callable[[Queue], T]) -> T:
    """
    :raises QueueUnavailable: no answer within ``_PATIENCE``, which a page or the end of a job cannot wait for.
    """

    def ask() -> list[T]:
        with _queue(queue) as found:
            return [call(found)]

    answers = InThread(ask, "backup-queue").result(_PATIENCE, otherwise=None)
    if answers is None:
        raise QueueUnavailable(f"The queue {queue!r} has not answered within {_PATIENCE:.0f} s: look after Redis.")
    return answers[0]


def _notes(job_id: str) -> str:
    return f"django-cfg-backup:{job_id}"


def enqueue(claim: Run, schedule: BackupScheduleConfig) -> bool:
    """See to it that a job of *claim* is on its queue; False: one is there already, or the claim is given up.

    Each attempt has an id of its own. A job is never deleted to be made again: a worker that is about to end the old
    one would write into the new one, and leave half a job that blocks the id.

    :raises QueueUnavailable: Redis does not answer; the claim stays, and the next tick tries again.
    :raises BackupError: one job of it after the other fails; it goes on being tried.
    """
    with _queue(schedule.queue) as queue:
        attempt = _first_unknown(claim, queue)
        last = queue.fetch_job(_job_id(claim, attempt - 1)) if attempt else None
        if _is_under_way(last, claim):
            _require_not_all_failing(queue, claim, schedule, attempt - 1)
            return False
        if attempt and not _is_worth_another(claim, schedule):
            return False
        is_put = _put(queue, claim, schedule, _job_id(claim, attempt))
        _require_not_all_failing(queue, claim, schedule, attempt)
        return is_put


def enqueue_copies(project: Project) -> bool:
    """See to it that a job that copies what is missing is on the queue of backups; False: one is there already.

    :raises QueueUnavailable: Redis does not answer; the next tick tries again.
    """
    schedule = project.config.schedule
    digest = sha256(f"{project.name}\0{project.env}".encode()).hexdigest()[:16]
    job_id = f"backup-copies-{digest}"
    with _queue(schedule.queue) as queue:
        job = queue.fetch_job(job_id)
        if job and _status(job) in _UNDER_WAY and (_status(job) != "queued" or job.get_position() is not None):
            return False
        queue.enqueue_call(
            f"{_TASKS}.run_copies",
            timeout=schedule.job_timeout,
            job_id=job_id,
            failure_ttl=int(_REMEMBERED.total_seconds()),
            description=f"Copies of the backups of {project.name}/{project.env}",
        )
        return True


def _first_unknown(claim: Run, queue: Queue) -> int:
    """The first attempt that Redis knows no job of; there may have been one a minute for days."""
    from rq.job import Job

    def is_known(attempt: int) -> bool:
        return bool(Job.exists(_job_id(claim, attempt), queue.connection))

    unknown = 0
    while is_known(unknown):
        unknown = 2 * unknown + 1
    return bisect_left(range(unknown), True, unknown // 2, key=lambda attempt: not is_known(attempt))


def _require_not_all_failing(queue: Queue, claim: Run, schedule: BackupScheduleConfig, attempt: int) -> None:
    """
    :raises BackupError: *attempt* is not the first one, and those before it failed.
    """
    before = queue.fetch_job(_job_id(claim, attempt - 1)) if attempt >= _MANY else None
    if before is not None and before.is_failed:
        raise BackupError(
            f"The jobs of the scheduled {claim.kind} of {claim.source} fail on the queue {schedule.queue!r} before "
            "it can begin, several by now: see the log of its worker, which may run other code or lack settings. Every "
            "tick tries again."
        )


def _put(queue: Queue, claim: Run, schedule: BackupScheduleConfig, job_id: str) -> bool:
    from rq.exceptions import DuplicateJobError

    try:
        queue.enqueue_call(
            f"{_TASKS}.run_{claim.kind}",
            args=(claim.pk, claim.database, claim.claimed),
            timeout=schedule.job_timeout,
            job_id=job_id,
            failure_ttl=int(_REMEMBERED.total_seconds()),
            description=f"{claim.kind.capitalize()} of {claim.source}",
            unique=True,
        )
    except DuplicateJobError:
        return False  # another ticker was faster
    return True


def _is_under_way(job: Job | None, claim: Run) -> bool:
    """False: the job has ended without starting the claim, or Redis knows it and no queue holds it."""
    if job is None:
        return False
    status = _status(job)
    if status == "queued" and claim.queued_at and clock.now() - claim.queued_at > _LOST_AFTER:
        return job.get_position() is not None
    return status in _UNDER_WAY


def _is_worth_another(claim: Run, schedule: BackupScheduleConfig) -> bool:
    """The claim still waits, and has not done so for longer than a run may take."""
    if not find_runs().filter(pk=claim.pk, state=Run.State.QUEUED).exists():
        return False  # it has just begun, or ended
    if claim.queued_at is None or clock.now() - claim.queued_at < timedelta(seconds=schedule.job_timeout):
        return True
    abandon_claim(
        claim,
        DumpFailed(
            f"The scheduled {claim.kind} of {claim.source} could not begin for {schedule.job_timeout} s: its jobs "
            f"on the queue {schedule.queue!r} ended before it, or another one went on. The worker's log has more."
        ),
    )
    return False


@contextmanager
def _queue(name: str) -> Iterator[Queue]:
    if not find_spec("django_rq"):
        raise ConfigurationError(
            "settings.RQ_QUEUES is there, and django-rq is not installed: install django-cfg-backup[rq], or take "
            "RQ_QUEUES out to run backups in place."
        )
    queues = getattr(settings, "RQ_QUEUES", {})
    if name not in queues:
        raise ConfigurationError(
            f"The schedule's queue {name!r} is not in settings.RQ_QUEUES, which has: "
            f"{', '.join(sorted(queues))}. Add it, and a worker for it."
        )
    import django_rq
    from redis.exceptions import RedisError

    try:
        # auto: the claim is committed, and nothing would ever send what waits for the end of a request
        queue = django_rq.get_queue(name, commit_mode="auto")
        try:
            yield queue
        finally:
            queue.connection.close()
    except RedisError as error:
        raise QueueUnavailable(
            f"The queue {name!r} cannot be reached ({type(error).__name__}: {error}), so that scheduled backups wait: "
            "look after Redis. The next tick tries again."
        ) from error


def _job_id(claim: Run, attempt: int) -> str:
    """Made from the row, of letters, digits and dashes; two projects may share one Redis."""
    parts = "\0".join((str(claim.source), str(claim.pk), claim.claimed))
    return f"backup-{claim.pk}-{sha256(parts.encode()).hexdigest()[:16]}-{attempt}"
