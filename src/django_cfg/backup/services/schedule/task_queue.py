"""Putting claims on Django's tasks: `django.tasks` from Django 6.0 on, before it the package django-tasks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from typing import Any

import django
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from django_cfg.backup.config.schedule import BackupScheduleConfig
from django_cfg.backup.engines.base import Finding, Level
from django_cfg.backup.errors import BackupError, ConfigurationError, QueueUnavailable
from django_cfg.backup.models import Run

_TASKS = "django_cfg.backup.django_tasks"  # run_backup, run_verification, run_copies
_PACKAGE = "django.tasks" if django.VERSION >= (6, 0) else "django_tasks"


def find_backend() -> Any:
    """Return the task backend `default`.

    :raises ImportError: it is not installed.
    :raises ImproperlyConfigured: settings.TASKS cannot be used.
    """
    return import_module(_PACKAGE).task_backends["default"]


def runs_elsewhere(backend: Any) -> bool:
    """Return True if tasks run somewhere else than in the process that puts them there, and at all."""
    dummy = import_string(f"{_PACKAGE}.backends.dummy.DummyBackend")
    immediate = import_string(f"{_PACKAGE}.backends.immediate.ImmediateBackend")
    return not isinstance(backend, dummy | immediate)


def require_backend() -> Any:
    """Return the backend of scheduled runs.

    :raises ConfigurationError: there is none that a worker serves.
    """
    try:
        backend = find_backend()
    except (ImproperlyConfigured, ImportError) as error:
        raise ConfigurationError(
            f'BackupConfig.queue_backend is "tasks", and the task backend cannot be used ({error}): set TASKS to the '
            "backend that your workers serve. Before Django 6.0 install django-cfg-backup[tasks]."
        ) from error
    if not runs_elsewhere(backend):
        raise ConfigurationError(
            f'BackupConfig.queue_backend is "tasks", and TASKS names {type(backend).__name__}, which no worker serves: '
            "backups would run inside of the tick, or never. Set TASKS to the backend that your workers serve; or "
            'choose queue_backend="process"; in the settings of tests, enabled=False.'
        )
    return backend


def check_backend() -> Iterator[Finding]:
    """Check that there is a backend; which workers serve it cannot be asked."""
    try:
        backend = require_backend()
    except BackupError as error:
        yield Finding(Level.FAILED, "queue", str(error))
        return
    yield Finding(Level.OK, "queue", f"scheduled runs go to the task backend {type(backend).__name__}")


def put(claim: Run, schedule: BackupScheduleConfig, again_after: timedelta) -> None:
    """Put *claim* on the task backend.

    :raises ConfigurationError: there is no such backend or queue.
    :raises QueueUnavailable: the backend does not take it.
    """
    what = f"the scheduled {claim.kind} of {claim.source}"
    _enqueue(f"run_{claim.kind}", (claim.pk, claim.database, claim.claimed), schedule, what)


def put_copies(schedule: BackupScheduleConfig, again_after: timedelta) -> None:
    """Ask a worker to copy what is missing in a place; raises as :func:`put` does."""
    _enqueue("run_copies", (), schedule, "the copies of backups")


def _enqueue(name: str, arguments: tuple[Any, ...], schedule: BackupScheduleConfig, what: str) -> None:
    queue = choose_queue(require_backend().queues, schedule.queue)
    try:
        import_string(f"{_TASKS}.{name}").using(queue_name=queue).enqueue(*arguments)
    except Exception as error:  # each backend has errors of its own
        raise QueueUnavailable(
            f"The task backend of settings.TASKS did not take {what} ({type(error).__name__}: {error}): look after "
            "the backend. The next tick tries again."
        ) from error


def choose_queue(queues: set[str], wanted: str) -> str:
    """Return the queue of the backend that serves *wanted*; a backend without "default" has another first one.

    :raises ConfigurationError: the backend has no queue of that name.
    """
    if not queues or wanted in queues:
        return wanted
    if wanted == "default":
        return min(queues)
    raise ConfigurationError(
        f"The schedule's queue {wanted!r} is not among the QUEUES of settings.TASKS, which are: "
        f"{', '.join(sorted(queues))}. Add it, and a worker for it."
    )
