"""Putting claims on Celery. A message expires when the claim is put there again, so that none pile up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

from django_cfg.backup.config.schedule import BackupScheduleConfig
from django_cfg.backup.engines.base import Finding, Level
from django_cfg.backup.errors import BackupError, ConfigurationError, QueueUnavailable
from django_cfg.backup.formatting import counted
from django_cfg.backup.models import Run
from django_cfg.backup.process.threads import InThread

_TASKS = "django_cfg.backup.celery"  # run_backup, run_verification, run_copies
_PATIENCE = 10.0  # seconds for the broker
_PING = 2.0  # seconds in which workers answer
T = TypeVar("T")


def require_installed() -> None:
    """
    :raises ConfigurationError: Celery is not installed.
    """
    if not find_spec("celery"):
        raise ConfigurationError(
            'BackupConfig.queue_backend is "celery", and Celery is not installed: install django-cfg-backup[celery], '
            "or choose another backend."
        )


def put(claim: Run, schedule: BackupScheduleConfig, again_after: timedelta) -> None:
    """Send *claim* to the broker.

    :raises ConfigurationError: no Celery app is loaded that workers serve.
    :raises QueueUnavailable: the broker does not take it.
    """
    consequence = f"the scheduled {claim.kind} of {claim.source} waits: look after it. The next tick tries again"
    _send(f"run_{claim.kind}", (claim.pk, claim.database, claim.claimed), schedule, again_after, consequence)


def put_copies(schedule: BackupScheduleConfig, again_after: timedelta) -> None:
    """Ask a worker to copy what is missing in a place; raises as :func:`put` does."""
    _send("run_copies", (), schedule, again_after, "copies wait: look after it. The next tick tries again")


def _send(
    name: str, arguments: tuple[Any, ...], schedule: BackupScheduleConfig, again_after: timedelta, consequence: str
) -> None:
    app = _find_app()
    import_module(_TASKS)
    task = app.tasks[f"{_TASKS}.{name}"]
    queue = {} if schedule.queue == "default" else {"queue": schedule.queue}  # else the app's own routes and queue

    def send() -> bool:
        task.apply_async(arguments, expires=again_after.total_seconds(), retry=False, ignore_result=True, **queue)
        return True

    _ask(send, consequence)


def check_workers() -> Iterator[Finding]:
    """Check that the broker can be reached, and that workers answer."""
    try:
        app = _find_app()
        answers = _ask(lambda: app.control.ping(timeout=_PING), "scheduled runs wait: look after it")
    except BackupError as error:
        yield Finding(Level.FAILED, "queue", str(error))
        return
    if answers:
        yield Finding(Level.OK, "queue", f"the broker of Celery answers, {counted(len(answers), 'worker')}")
    else:
        text = "no worker of Celery answers, so scheduled runs wait: start `celery -A PROJECT worker`"
        yield Finding(Level.WARNING, "queue", text)


def _find_app() -> Any:
    require_installed()
    from celery import current_app  # type: ignore[import-untyped, import-not-found, unused-ignore]

    app = current_app._get_current_object()
    if not (app.conf.broker_url or app.conf.broker_write_url):
        raise ConfigurationError(
            "No Celery app with a broker is loaded here: import your app in the package of your project, as Celery's "
            "guide for Django says, and set its broker_url."
        )
    if app.conf.task_always_eager:
        raise ConfigurationError(
            "Celery's task_always_eager is set, so backups would run inside of the tick: take it out, or choose "
            'queue_backend="process".'
        )
    return app


def _ask(call: Callable[[], T], consequence: str) -> T:
    """
    :raises QueueUnavailable: the broker refuses, or does not answer within ``_PATIENCE``.
    """
    try:
        answers = InThread(lambda: [call()], "backup-queue").result(_PATIENCE, otherwise=None)
    except Exception as error:  # each transport has errors of its own
        raise QueueUnavailable(
            f"The broker of Celery cannot be reached ({type(error).__name__}: {error}), so that {consequence}."
        ) from error
    if answers is None:
        raise QueueUnavailable(
            f"The broker of Celery has not answered within {_PATIENCE:.0f} s, so that {consequence}."
        )
    return answers[0]
