"""What a tick sees of overdue backups: the history first, the storage only when that is not reassuring."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Min, Q

from django_cfg.backup.manifest import Manifest, Source
from django_cfg.backup.models import BackupRun
from django_cfg.backup.policy.schedule import latest_slot
from django_cfg.backup.schedule_config import BackupScheduleConfig
from django_cfg.backup.services import clock
from django_cfg.backup.services.claims import Shelf
from django_cfg.backup.services.history import rows
from django_cfg.backup.services.project import Project
from django_cfg.backup.services.status import is_overdue


def overdue_message(project: Project, source: Source, schedule: BackupScheduleConfig, shelf: Shelf) -> str:
    """Why somebody should look after *source*; empty when nobody need."""
    if _is_fresh(project, source, schedule) or _has_just_begun(source, schedule):
        return ""
    backups = shelf.of(source)
    return _told(source, backups) if is_overdue(project, schedule, backups) else ""


def _is_fresh(project: Project, source: Source, schedule: BackupScheduleConfig) -> bool:
    """The history knows of a backup that serves the latest slot whose grace is over, or of one going on."""
    runs = rows(source)
    if runs.filter(state=BackupRun.State.RUNNING, lease=True).exists():
        return True
    succeeded = runs.filter(state=BackupRun.State.SUCCEEDED)
    last = succeeded.order_by("-started_at").first()
    if last is None or last.started_at is None:
        return False
    slot = latest_slot(schedule, project.zone, clock.now() - _grace(schedule), last.started_at)
    return slot is None or succeeded.filter(Q(started_at__gte=slot) | Q(slot__gte=slot)).exists()


def _has_just_begun(source: Source, schedule: BackupScheduleConfig) -> bool:
    """Nothing is known of the source for longer than the grace: its first backup may be on its way."""
    first = rows(source).aggregate(at=Min("queued_at"))["at"]
    return first is None or clock.now() - first < _grace(schedule)


def _grace(schedule: BackupScheduleConfig) -> timedelta:
    return timedelta(minutes=schedule.grace_minutes)


def _told(source: Source, backups: list[Manifest]) -> str:
    last = f"The last one is {backups[0].name}." if backups else "There is none at all."
    return (
        f"The backup of {source} is overdue. {last} See whether a worker runs on its queue, and in the history why the "
        "last runs failed."
    )
