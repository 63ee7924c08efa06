"""What a tick finds out about overdue backups.

The storage decides. The history says which backup to look at first, so that most ticks read one and not all, and
excuses a source whose backup is being made.
"""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Min

from django_cfg.backup.config.schedule import BackupScheduleConfig
from django_cfg.backup.manifest import Manifest, Source
from django_cfg.backup.models import Run
from django_cfg.backup.policy.health import is_overdue
from django_cfg.backup.policy.retention import CLOCK_TOLERANCE
from django_cfg.backup.services.catalog.places import LazyCatalog, find_intact_anywhere
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.runs.history_database import find_runs


def overdue_message(project: Project, source: Source, schedule: BackupScheduleConfig, catalog: LazyCatalog) -> str:
    """Say that *source* is overdue; empty if it is not."""
    if _is_going_on(source, schedule) or _has_just_begun(source, schedule) or _is_fresh(project, source, schedule):
        return ""
    backups = catalog.of(source)
    return _message(source, backups) if is_overdue(schedule, project.zone, backups, clock.now()) else ""


def _is_going_on(source: Source, schedule: BackupScheduleConfig) -> bool:
    """Return True if a backup is being made, for no longer than one may take: one that hangs writes heartbeats, too."""
    now = clock.now()
    begun = (now - timedelta(seconds=schedule.job_timeout), now + CLOCK_TOLERANCE)
    return find_runs(source).filter(state=Run.State.RUNNING, lease=True, started_at__range=begun).exists()


def _is_fresh(project: Project, source: Source, schedule: BackupScheduleConfig) -> bool:
    """Return True if the newest backup of the history is intact in the storage and recent enough."""
    past = find_runs(source).filter(state=Run.State.SUCCEEDED, started_at__lte=clock.now() + CLOCK_TOLERANCE)
    last = past.exclude(name="").order_by("-started_at").first()
    manifest = find_intact_anywhere(project, last.name) if last else None
    return (
        manifest is not None
        and manifest.source == source
        and not is_overdue(schedule, project.zone, [manifest], clock.now())
    )


def _has_just_begun(source: Source, schedule: BackupScheduleConfig) -> bool:
    """Return True if the source has not been known for longer than the grace: its first backup may be under way."""
    first = find_runs(source).aggregate(at=Min("queued_at"))["at"]
    return first is None or clock.now() - first < _grace(schedule)


def _grace(schedule: BackupScheduleConfig) -> timedelta:
    return timedelta(minutes=schedule.grace_minutes)


def _message(source: Source, backups: list[Manifest]) -> str:
    last = f"The last one is {backups[0].name}." if backups else "There is none at all."
    return (
        f"The backup of {source} is overdue. {last} See whether a worker runs on its queue, and in the history why the "
        "last runs failed."
    )
