"""History rows: written as well as they can be. A backup never fails because its history did."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import Error, connections, router, transaction
from django.db.models import Model
from django.utils import timezone

from django_cfg.backup.engines import engine_for
from django_cfg.backup.engines.base import Database
from django_cfg.backup.errors import UnsupportedEngine
from django_cfg.backup.manifest import Manifest, Source, Trigger
from django_cfg.backup.models import BackupRun

_log = logging.getLogger("django_cfg.backup")


class RecordedRun:
    """The row of one run; a first step that cannot be saved is logged, and the later ones are left out."""

    def __init__(self, source: Source, trigger: Trigger) -> None:
        self._given_up = False
        self._row = BackupRun(
            project=source.project,
            env=source.env,
            database=source.database,
            trigger=trigger,
            host=socket.gethostname(),
            started_at=timezone.now(),
        )
        self._save()
        self._given_up = self._row.pk is None

    def named(self, name: str) -> None:
        self._row.name = name
        self._save()

    def succeeded(self, manifest: Manifest) -> None:
        self._finish(BackupRun.State.SUCCEEDED, name=manifest.name, size=manifest.archive.size)

    def failed(self, error: BaseException) -> None:
        self._finish(BackupRun.State.FAILED, message=str(error) or type(error).__name__)

    def _finish(self, state: BackupRun.State, **values: Any) -> None:
        for name, value in {**values, "state": state, "finished_at": timezone.now()}.items():
            setattr(self._row, name, value)
        self._save()

    def _save(self) -> None:
        if self._given_up:
            return
        save(self._row)


def save(row: Model) -> bool:
    """Save *row*, where the history can be written; what hinders it is logged."""
    if not _can_be_opened(home()):
        _log.warning("The history of this run is not written: its database %r does not exist.", home())
        return False
    with tolerated("write the history of this run"), transaction.atomic(using=home()):
        row.save(using=home())
    return row.pk is not None


def home() -> str:
    """The alias of the database that holds the history."""
    return router.db_for_write(BackupRun) or "default"


def _can_be_opened(alias: str) -> bool:
    """False where connecting would create the database, as SQLite does: a lost one must not come back empty."""
    try:
        return engine_for(Database(alias, connections[alias].settings_dict)).exists()
    except UnsupportedEngine:
        return True  # an engine we cannot back up may still hold the history


def reconcile(manifests: list[Manifest]) -> None:
    """After a restore: the dump held its own run as running, and storage knows how it ended."""
    published = {manifest.name: manifest for manifest in manifests}
    with tolerated("reconcile the history with the storage"), transaction.atomic(using=home()):
        for row in BackupRun.objects.using(home()).filter(state=BackupRun.State.RUNNING):
            _settle(row, published.get(row.name))


def _settle(row: BackupRun, manifest: Manifest | None) -> None:
    row.state = BackupRun.State.SUCCEEDED if manifest else BackupRun.State.FAILED
    row.finished_at = manifest.finished_at if manifest else timezone.now()
    row.size = manifest.archive.size if manifest else None
    row.message = (
        "" if manifest else "It was running in the backup that was restored; no backup of this name is stored."
    )
    row.save()


@contextmanager
def tolerated(doing: str) -> Iterator[None]:
    """Log a database's refusal instead of raising it."""
    try:
        yield
    except Error as error:
        _log.warning("Could not %s (%s); if its table is missing, run migrate.", doing, str(error).strip())
