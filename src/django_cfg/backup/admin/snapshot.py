"""What a page knows: read within a few seconds, or the page says what does not answer and shows the rest."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import TypeVar

from django.conf import settings
from django.db import connections
from django.utils import timezone

from django_cfg.backup.errors import BackupError, ClockSkew, StorageError
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.policy.retention import Decision
from django_cfg.backup.process.in_thread import InThread
from django_cfg.backup.services.catalog.catalog import Catalog, read_catalog
from django_cfg.backup.services.monitoring.object_cache import ObjectCache
from django_cfg.backup.services.monitoring.status import StatusReport, read_status
from django_cfg.backup.services.monitoring.summary import Summary, last_failures, storage_failed, summarize
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.project import Project, current_project, operation
from django_cfg.backup.services.retention.prune import decide_retention

PATIENCE = 4.0  # seconds for the storage and the databases together
_SHORT = 1.5  # seconds that the admin's index waits
_BELIEVED_FOR = 60.0  # seconds
_SUMMARY = "summary"
T = TypeVar("T")
_recent: dict[str, tuple[float, Summary | None]] = {}


@dataclass(frozen=True)
class Snapshot:
    """The state of the project's backups, as far as it could be read."""

    project: Project
    now: datetime
    catalog: Catalog | None  # None: the storage does not answer
    report: StatusReport | None
    summary: Summary
    error: str = ""  # why the storage could not be read

    @property
    def zone(self) -> tzinfo:
        """The zone of the times that are shown."""
        return page_zone(self.project)

    @property
    def backups(self) -> list[Manifest]:
        """Those of this project and environment, newest first."""
        return self.catalog.of(self.project) if self.catalog else []

    def decisions(self) -> dict[str, Decision]:
        """What keeps each backup, by name; empty where a clock is wrong."""
        if self.catalog is None:
            return {}
        try:
            return {made.name: made for made in decide_retention(self.project, self.catalog).decisions}
        except ClockSkew:
            return {}


def page_zone(project: Project) -> tzinfo:
    return timezone.get_current_timezone() if settings.USE_TZ else project.zone


def read_snapshot(patience: float = PATIENCE) -> Snapshot:
    """Read all that the overview shows.

    :param patience: seconds for all of it.
    :raises ConfigurationError: settings.BACKUP cannot be used.
    """
    project, now = current_project(), clock.now()
    deadline = time.monotonic() + patience
    try:
        catalog = _read_storage(project, patience)
        report = _read_status(project, catalog, deadline - time.monotonic())
    except BackupError as error:
        return Snapshot(project, now, None, None, storage_failed(str(error)), str(error))
    summary = summarize(report, last_failures(report), now)
    return Snapshot(project, now, catalog, report, summary)


def recent_summary() -> Summary | None:
    """Return how everything was within the last minute; None: the settings cannot be used."""
    read_at, summary = _recent.get(_SUMMARY, (0.0, None))
    if time.monotonic() - read_at > _BELIEVED_FOR:
        try:
            with operation():
                summary = read_snapshot(_SHORT).summary
        except BackupError:
            summary = None
        _recent[_SUMMARY] = (time.monotonic(), summary)
    return summary


def read_backups() -> Snapshot:
    """Read what is stored, and nothing of the databases."""
    project, now = current_project(), clock.now()
    try:
        catalog = _read_storage(project, PATIENCE)
    except BackupError as error:
        return Snapshot(project, now, None, None, storage_failed(str(error)), str(error))
    nothing = StatusReport(healthy=True, sources=(), old_data=(), old_data_unknown=())
    return Snapshot(project, now, catalog, nothing, summarize(nothing, {}, now))


def _read_storage(project: Project, patience: float) -> Catalog:
    """Read the catalog, from copies where they are current; what was read is written in this thread."""
    cache = ObjectCache(project.storage)
    catalog = _within(patience, lambda: read_catalog(project.storage, project.signing_keys, cache.read_many), project)
    cache.save()
    return catalog


def _read_status(project: Project, catalog: Catalog, seconds: float) -> StatusReport:
    seconds = max(seconds, 1.0)
    return _within(seconds, lambda: read_status(project, catalog, patience=seconds - 0.5), project)


def _within(seconds: float, read: Callable[[], T], project: Project) -> T:
    """
    :raises StorageError: it takes longer; it goes on, and what it has read is found in memory by the next page.
    """

    def call() -> T:
        try:
            return read()
        finally:
            connections.close_all()  # this thread's own

    found = InThread(call, "backup-page").result(seconds, otherwise=None)
    if found is None:
        raise StorageError(
            f"{project.location} has not answered within {max(seconds, 1):.0f} s. Reading goes on: load the page again "
            "in a moment. If it stays so, see whether the storage can be reached (`backup_check`)."
        )
    return found
