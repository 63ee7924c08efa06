"""Which queue serves claims, and putting them there. The database row decides, not the job.

RQ can be asked what it holds. Celery and Django's tasks cannot, or not all of their backends: there the claim says when
it was last put on the queue, and is put there again after a while. A second delivery finds the claim taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from hashlib import sha256
from importlib.util import find_spec

from django.core.cache import cache
from django.db.models import Q

from django_cfg.backup.config.backup import BackupConfig, QueueBackend
from django_cfg.backup.config.schedule import BackupScheduleConfig
from django_cfg.backup.engines.base import Finding
from django_cfg.backup.errors import BackupError, ConfigurationError
from django_cfg.backup.models import Run
from django_cfg.backup.policy.retention import CLOCK_TOLERANCE
from django_cfg.backup.process.time_limit import limit_time, queue_limit
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.project import Project, backup_config
from django_cfg.backup.services.runs.history_database import attempted, find_runs, retry_while_locked
from django_cfg.backup.services.schedule import celery_queue, rq, task_queue
from django_cfg.backup.services.schedule.backup_job import run_claimed_backup
from django_cfg.backup.services.schedule.verification_job import run_claimed_verification

AGAIN_AFTER = timedelta(minutes=15)
Put = Callable[[Run, BackupScheduleConfig, timedelta], None]  # timedelta: it is put there again after that


def choose_backend(config: BackupConfig) -> QueueBackend:
    """Return where scheduled runs are made."""
    return config.queue_backend or ("rq" if rq.has_queues() else "process")


def require_usable(config: BackupConfig) -> None:
    """See, without a connection, whether the chosen backend can serve scheduled runs.

    :raises ConfigurationError: it cannot.
    """
    if config.queue_backend == "tasks":
        task_queue.require_backend()
    elif config.queue_backend == "celery":
        celery_queue.require_installed()
    elif config.queue_backend == "rq" and not (rq.has_queues() and find_spec("django_rq")):
        raise ConfigurationError(
            'BackupConfig.queue_backend is "rq", and there are no RQ queues: install django-cfg-backup[rq] and set '
            "RQ_QUEUES, or choose another backend."
        )


def check_queues(project: Project) -> Iterator[Finding]:
    """Check that the queues of scheduled runs can be reached, and that workers take jobs from them."""
    match choose_backend(project.config):
        case "rq":
            yield from rq.check_queues(project)
        case "celery":
            yield from celery_queue.check_workers()
        case "tasks":
            yield from task_queue.check_backend()


def enqueue(project: Project, claim: Run, schedule: BackupScheduleConfig) -> bool:
    """See to it that *claim* is on its queue; False: it is there already, as far as is known.

    :raises BackupError: the queue cannot be used; the claim stays, and the next tick tries again.
    """
    match choose_backend(project.config):
        case "tasks":
            return _put_unless_recent(claim, schedule, task_queue.put)
        case "celery":
            return _put_unless_recent(claim, schedule, celery_queue.put)
    return rq.enqueue(claim, schedule)


def enqueue_copies(project: Project) -> bool:
    """See to it that what is missing in a place is copied by a worker; False: that is asked for already.

    A second delivery finds the lock of the copies taken, or nothing missing.

    :raises BackupError: the queue cannot be used; the next tick tries again.
    """
    backend = choose_backend(project.config)
    if backend == "rq":
        return rq.enqueue_copies(project)
    key = f"django-cfg-backup-copies-{sha256(f'{project.name}/{project.env}'.encode()).hexdigest()[:16]}"
    if not cache.add(key, value=True, timeout=AGAIN_AFTER.total_seconds()):
        return False
    try:
        (celery_queue if backend == "celery" else task_queue).put_copies(project.config.schedule, AGAIN_AFTER)
    except BackupError:
        cache.delete(key)
        raise
    return True


def _put_unless_recent(claim: Run, schedule: BackupScheduleConfig, put: Put) -> bool:
    """Of several tickers at once, one puts it there."""
    now = clock.now()
    never_or_long_ago = Q(enqueued_at=None) | Q(enqueued_at__lte=now - AGAIN_AFTER)
    due = never_or_long_ago | Q(enqueued_at__gt=now + CLOCK_TOLERANCE)
    waiting = find_runs().filter(pk=claim.pk, state=Run.State.QUEUED, queued_at=claim.queued_at)
    if not retry_while_locked(lambda: waiting.filter(due).update(enqueued_at=now)):
        return False
    try:
        put(claim, schedule, AGAIN_AFTER)
    except BackupError:
        retry_while_locked(lambda: waiting.update(enqueued_at=None))
        raise
    return True


def serve_claim(kind: Run.Kind, run: int, database: str, claimed: str) -> str:
    """Serve a claim in a worker of Celery or of Django's tasks, for as long as its schedule allows.

    :returns: the name of the backup; empty if the claim waits no more, or has to wait longer.
    :raises BackupError: the run failed; the signal has been sent.
    """
    config, is_backup = backup_config(), kind == Run.Kind.BACKUP
    schedule = config.schedule_for(database) if is_backup else config.verification_schedule_for(database)
    seconds = schedule.job_timeout if schedule else 60
    what = f"scheduled {kind} of {database!r}"
    try:
        with queue_limit(what), limit_time(seconds, what):
            if is_backup:
                manifest = run_claimed_backup(run, database, claimed)
                return manifest.name if manifest else ""
            verified = run_claimed_verification(run, database, claimed)
            return verified.name if verified else ""
    finally:
        _release(run, claimed)


def _release(run: int, claimed: str) -> None:
    """Let the next tick put a claim on its queue again that still waits after its job, as when another run went on."""
    with attempted("let a claim be put on its queue again") as is_possible:
        if is_possible:
            waiting = find_runs().filter(
                pk=run, state=Run.State.QUEUED, queued_at=datetime.fromisoformat(claimed), enqueued_at__isnull=False
            )
            retry_while_locked(lambda: waiting.update(enqueued_at=None))
