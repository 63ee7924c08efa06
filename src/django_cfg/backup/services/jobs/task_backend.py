"""Django's tasks, where the project's backend runs them outside of the request."""

from __future__ import annotations

import logging
from typing import Any

import django
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string
from pydantic import ValidationError

from django_cfg.backup.errors import QueueUnavailable
from django_cfg.backup.services.jobs.job import JobPhase, JobState
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.schedule import task_queue

_TASK = "django_cfg.backup.django_tasks.run_job"
_log = logging.getLogger("django_cfg.backup")


def has_task_backend(*, is_chosen: bool = False) -> bool:
    """Whether Django's tasks run somewhere else than in the request.

    :param is_chosen: by BackupConfig.queue_backend; then also those of the package django-tasks, before Django 6.0.
    """
    if django.VERSION < (6, 0) and not is_chosen:
        return False
    try:
        return task_queue.runs_elsewhere(task_queue.find_backend())
    except (ImproperlyConfigured, ImportError) as error:  # settings.TASKS is for Django's checks to judge
        _log.warning("settings.TASKS cannot be used, so jobs run without it: %s", error)
        return False


def put_task(text: str) -> str:
    """Put the job *text* (JSON) on the task backend; the id of its result.

    :raises QueueUnavailable: the backend did not take it.
    """
    try:
        return str(import_string(_TASK).enqueue(text).id)
    except Exception as error:  # each backend has errors of its own
        raise QueueUnavailable(
            f"The task backend of settings.TASKS did not take the job ({type(error).__name__}: {error}). Nothing was "
            "started: look after the backend, and start it again."
        ) from error


def find_state(state: JobState) -> JobState:
    """Return the state of a job whose worker may run on another machine, as far as the backend says."""
    try:
        found = import_string(_TASK).get_result(state.task)
    except Exception as error:  # noqa: BLE001  it knows no results, or does not answer
        _log.info("The task backend says nothing of the job %s: %s", state.job.id, error)
        return state
    return _as_state(state, found)


def _as_state(state: JobState, found: Any) -> JobState:
    match str(found.status):
        case "RUNNING":
            return state.model_copy(update={"phase": JobPhase.RUNNING, "seen_at": clock.now()})
        case "FAILED":
            why = "The worker of the task backend could not do it: see the log of the worker."
            return state.ended(JobPhase.FAILED, why)
        case "SUCCESSFUL":
            try:
                return JobState.model_validate_json(found.return_value)
            except ValidationError:
                return state.ended(JobPhase.FAILED, "It was done before. The page Runs says how it ended.")
    return state
