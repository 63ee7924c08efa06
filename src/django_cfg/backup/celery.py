"""What Celery's beat and workers run. Your celery.py imports it:

.. code-block:: python

    from django_cfg.backup.celery import beat_schedule

    app.conf.beat_schedule = {**(app.conf.beat_schedule or {}), **beat_schedule()}

No settings are read when this is imported, so that it can be imported before Django is set up.
"""

from __future__ import annotations

from typing import Any

from celery import shared_task  # type: ignore[import-untyped, import-not-found, unused-ignore]

_MINUTE = 60
# The schedule's job_timeout ends a run; task_time_limit, made for other tasks, is often less than a backup takes.
_LONGEST = 8 * 24 * 60 * _MINUTE  # seconds; longer than any job_timeout
# The claim decides what runs: a message is done when it is delivered, and no process reads results.
_OPTIONS: dict[str, Any] = {
    "acks_late": False,
    "ignore_result": True,
    "soft_time_limit": _LONGEST,
    "time_limit": _LONGEST,
}


@shared_task(name="django_cfg.backup.celery.run_tick", **_OPTIONS)  # type: ignore[untyped-decorator, unused-ignore]
def run_tick() -> int:
    """Make a tick; the number of runs that it has put on their queues."""
    from django_cfg.backup.tasks import run_tick

    return run_tick()


@shared_task(name="django_cfg.backup.celery.run_backup", **_OPTIONS)  # type: ignore[untyped-decorator, unused-ignore]
def run_backup(run: int, database: str, claimed: str) -> str:
    """Make the backup that a tick has claimed; its name, empty if the claim is no longer waiting."""
    from django_cfg.backup.models import Run
    from django_cfg.backup.services.schedule.queues import serve_claim

    return serve_claim(Run.Kind.BACKUP, run, database, claimed)


@shared_task(name="django_cfg.backup.celery.run_verification", **_OPTIONS)  # type: ignore[untyped-decorator, unused-ignore]
def run_verification(run: int, database: str, claimed: str) -> str:
    """Verify the newest backup, as a tick has claimed; its name, empty if the claim is no longer waiting."""
    from django_cfg.backup.models import Run
    from django_cfg.backup.services.schedule.queues import serve_claim

    return serve_claim(Run.Kind.VERIFICATION, run, database, claimed)


@shared_task(name="django_cfg.backup.celery.run_copies", **_OPTIONS)  # type: ignore[untyped-decorator, unused-ignore]
def run_copies() -> int:
    """Copy what is missing in a place; the number of copies."""
    from django_cfg.backup.tasks import run_copies

    return run_copies()


def beat_schedule(queue: str | None = None) -> dict[str, dict[str, Any]]:
    """Return the entry of beat_schedule that makes a tick a minute.

    :param queue: of the ticks; None: where your app routes them. A worker that is busy with backups keeps them waiting.
    """
    options: dict[str, Any] = {"expires": 5 * _MINUTE}  # ticks that no worker takes do not pile up
    options |= {"queue": queue} if queue else {}
    return {
        "django-cfg-backup": {
            "task": "django_cfg.backup.celery.run_tick",
            "schedule": float(_MINUTE),
            "options": options,
        }
    }
