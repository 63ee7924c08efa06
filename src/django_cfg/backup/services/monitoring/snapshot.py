"""What a page knows: read within a few seconds, or the page says what does not answer and shows the rest."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from functools import partial
from typing import TypeVar

from django.conf import settings
from django.utils import timezone

from django_cfg.backup.errors import BackupError, ClockSkew, StorageError
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.policy.retention import Decision
from django_cfg.backup.process.threads import InThread
from django_cfg.backup.services.catalog.catalog import Catalog
from django_cfg.backup.services.catalog.places import places_with, read_places
from django_cfg.backup.services.monitoring.object_cache import CachedCatalog
from django_cfg.backup.services.monitoring.status import StatusReport, read_status
from django_cfg.backup.services.monitoring.summary import Summary, Verdict, last_failures, storage_failed, summarize
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.connections import closing_connections
from django_cfg.backup.services.project.places import Place
from django_cfg.backup.services.project.project import Project, current_project, operation
from django_cfg.backup.services.retention.prune import decide_everywhere

PATIENCE = 4.0  # seconds for the storage and the databases together
_SHORT = 1.5  # seconds that the admin's index waits
_BELIEVED_FOR = 60.0  # seconds
T = TypeVar("T")
_recent: dict[str, tuple[float, Summary | None]] = {}  # by the place of the storage


class NoAnswerYet(StorageError):
    """The storage may only be slow."""


@dataclass(frozen=True)
class Stored:
    """What is in the storage, as far as it could be read."""

    project: Project
    now: datetime
    catalog: Catalog | None  # None: the storage does not answer
    error: str = ""  # why the storage could not be read
    is_late: bool = False  # something may only be slow

    @property
    def zone(self) -> tzinfo:
        """The zone of the times that are shown."""
        return timezone.get_current_timezone() if settings.USE_TZ else self.project.zone

    @property
    def backups(self) -> list[Manifest]:
        """Those of this project and environment, newest first."""
        return self.catalog.of(self.project) if self.catalog else []

    def places_with(self, manifest: Manifest) -> list[Place]:
        """Return the places that have *manifest* intact.

        :raises StorageError: the storage does not answer.
        """
        if self.catalog is None:
            raise StorageError(self.error)
        return places_with(self.project, self.catalog, manifest)

    def decisions(self) -> dict[str, Decision]:
        """What keeps each backup, by name; empty where a clock is wrong."""
        if self.catalog is None:
            return {}
        try:
            return decide_everywhere(self.project, self.catalog)
        except ClockSkew:
            return {}


@dataclass(frozen=True)
class Snapshot:
    """How everything is, as far as it could be found out."""

    stored: Stored
    report: StatusReport | None  # None: it is not known
    summary: Summary


def read_snapshot(patience: float = PATIENCE) -> Snapshot:
    """Read all that the overview shows.

    :param patience: seconds for all of it.
    :raises ConfigurationError: settings.BACKUP cannot be used.
    """
    deadline = time.monotonic() + patience
    stored = read_backups(patience)
    if stored.catalog is None:
        return Snapshot(stored, None, storage_failed(stored.error))
    try:
        report = _read_status(stored.project, stored.catalog, deadline - time.monotonic())
    except NoAnswerYet as error:
        summary = Summary(verdict=Verdict.FAILED, sentence=f"{Verdict.FAILED}: {error}")
        return Snapshot(replace(stored, is_late=True), None, summary)
    return Snapshot(stored, report, summarize(report, last_failures(report), stored.now))


def recent_summary() -> Summary | None:
    """Return how everything was within the last minute; None: it cannot be said in a moment, or not at all."""
    try:
        with operation():
            place = current_project().location
            read_at, summary = _recent.get(place, (0.0, None))
            if time.monotonic() - read_at > _BELIEVED_FOR:
                snapshot = read_snapshot(_SHORT)
                summary = None if snapshot.stored.is_late else snapshot.summary
                _recent[place] = (time.monotonic(), summary)
    except BackupError:
        return None
    return summary


def read_backups(patience: float = PATIENCE) -> Stored:
    """Read what is stored, and nothing of the databases.

    :raises ConfigurationError: settings.BACKUP cannot be used.
    """
    project, now = current_project(), clock.now()
    try:
        return Stored(project, now, _read_storage(project, patience))
    except BackupError as error:
        return Stored(project, now, None, str(error), is_late=isinstance(error, NoAnswerYet))


def read_catalog_now(project: Project) -> Catalog:
    """Read the catalog from the storage itself, for what changes something.

    :raises StorageError: it cannot be read within a few seconds.
    """
    return within(PATIENCE, partial(read_places, project, patience=0.6 * PATIENCE), project.location)


def _read_storage(project: Project, patience: float) -> Catalog:
    """Read the catalog, from copies where they are current; what was read is written in this thread."""
    cached = CachedCatalog(project)
    catalog = within(patience, partial(cached.read, 0.6 * patience), project.location)
    cached.save(catalog)
    return catalog


def _read_status(project: Project, catalog: Catalog, seconds: float) -> StatusReport:
    seconds = max(seconds, 1.0)  # on a busy machine it takes some of them to say which database did not answer
    return within(seconds, lambda: read_status(project, catalog, patience=0.6 * seconds), "One of the databases")


def within(seconds: float, read: Callable[[], T], what: str) -> T:
    """Read in a thread of its own.

    :param what: is read, for the message.
    :raises NoAnswerYet: it takes longer; it goes on, and what it has read is found in memory by the next page.
    """
    found = InThread(closing_connections(read), "backup-page").result(seconds, otherwise=None)
    if found is None:
        raise NoAnswerYet(
            f"{what} has not answered within {max(seconds, 1):.0f} s. Reading goes on: load the page again in a "
            "moment. If it stays so, see whether it can be reached (`backup_check`)."
        )
    return found
