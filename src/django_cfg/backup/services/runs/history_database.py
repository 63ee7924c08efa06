"""The history's database: where it is, and what to make of its refusals."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.db import Error, OperationalError, connections, models, router, transaction

from django_cfg.backup.engines import engine_for
from django_cfg.backup.engines.base import Database
from django_cfg.backup.errors import HistoryUnavailable, UnsupportedEngine
from django_cfg.backup.manifest import Manifest, Source
from django_cfg.backup.models import BackupRun
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.runs.reachability import PATIENCE, answers

T = TypeVar("T")
_REFUSALS = (Error, ImproperlyConfigured, ImportError)  # the last two of a driver that is missing
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)  # seconds, after each of which the driver waits by itself
_log = logging.getLogger("django_cfg.backup")


def home() -> str:
    """The alias of the database that holds the history."""
    return router.db_for_write(BackupRun) or "default"


def rows(
    source: Source | None = None, kind: BackupRun.Kind | str = BackupRun.Kind.BACKUP
) -> models.QuerySet[BackupRun]:
    """The runs of *source* of one *kind*; None: all of every kind."""
    every = BackupRun.objects.using(home())
    return every.filter(**source.model_dump(), kind=kind) if source else every


def can_be_opened(alias: str) -> bool:
    """False where connecting would create the database, as SQLite does: a lost one must not come back empty."""
    try:
        return engine_for(Database(alias, connections[alias].settings_dict)).exists()
    except (UnsupportedEngine, ImproperlyConfigured, ImportError):
        return True  # an engine we cannot back up may still hold the history; using it will tell


def _hindrance(alias: str) -> str:
    """Why the database *alias* is better not even asked, in words; empty when nothing is known against it."""
    if not can_be_opened(alias):
        return "does not exist"
    try:
        return "" if answers(alias) else f"does not answer within {PATIENCE:.0f} s"
    except _REFUSALS:
        return ""  # using it will tell


def reconcile(manifests: list[Manifest]) -> None:
    """After a restore: the dump held its own run as running, and storage knows how it ended."""
    published = {manifest.name: manifest for manifest in manifests}
    with tolerated("reconcile the history with the storage"), transaction.atomic(using=home()):
        rows().filter(state=BackupRun.State.QUEUED).delete()  # claims of another time: a tick makes them anew
        for row in rows().filter(state=BackupRun.State.RUNNING):
            made = published.get(row.name) if row.kind == BackupRun.Kind.BACKUP else None
            _settle(row, made, "It was running in the backup that was restored")


def reconcile_if_restored(manifests: list[Manifest]) -> None:
    """:func:`reconcile` where it is seen that the table came from a dump: the dump's own run is running in it."""
    published = {manifest.name for manifest in manifests}
    with tolerated("see whether the history was restored"):
        running = rows().filter(state=BackupRun.State.RUNNING, kind=BackupRun.Kind.BACKUP)
        if published.intersection(running.values_list("name", flat=True)):
            reconcile(manifests)


def _settle(row: BackupRun, manifest: Manifest | None, why: str) -> None:
    """End a run that nobody carries on: *manifest* is what it has published, if anything."""
    row.state = BackupRun.State.SUCCEEDED if manifest else BackupRun.State.FAILED
    row.lease = None
    row.finished_at = manifest.finished_at if manifest else clock.now()
    row.size = manifest.archive.size if manifest else None
    row.message = "" if manifest else f"{why}; no backup of this name is stored."
    row.save()


@contextmanager
def attempted(doing: str) -> Iterator[bool]:
    """Yields whether there is a database to write to; its refusal is logged."""
    hindrance = _hindrance(home())
    if hindrance:
        _log.warning("Could not %s: its database %r %s.", doing, home(), hindrance)
    with tolerated(doing):
        yield not hindrance


def save(row: models.Model) -> bool:
    """Save *row*, where the history can be written; what hinders it is logged."""
    with attempted("write the history of this run") as is_possible:
        if is_possible:
            patiently(lambda: row.save(using=home()))
    return row.pk is not None


@contextmanager
def required(doing: str) -> Iterator[None]:
    """Raise a database's refusal as ours: what happens here is nothing without the history.

    :raises HistoryUnavailable: it refused, or is not there.
    """
    if hindrance := _hindrance(home()):
        raise HistoryUnavailable(
            f"Could not {doing}: the database {home()!r}, which keeps the history, {hindrance}. Bring it back, "
            "then run migrate; `backup_create` works without it."
        )
    try:
        yield
    except _REFUSALS as error:
        raise HistoryUnavailable(
            f"Could not {doing}: the history in the database {home()!r} cannot be used ({str(error).strip()}). Without "
            "it nothing keeps a slot from being served twice, so nothing was started. Mend the database, or run "
            "migrate if the table is missing; `backup_create` works without it."
        ) from error


def patiently(write: Callable[[], T]) -> T:
    """Do one small write in a transaction, again for a while when SQLite says that another writes."""
    for pause in _PAUSES:
        try:
            with transaction.atomic(using=home()):
                return write()
        except OperationalError as error:
            if "locked" not in str(error):
                raise
            time.sleep(pause * (1 + random.random()))  # noqa: S311  so that two do not meet again
    with transaction.atomic(using=home()):
        return write()


@contextmanager
def tolerated(doing: str) -> Iterator[None]:
    """Log a database's refusal instead of raising it."""
    try:
        yield
    except _REFUSALS as error:
        _log.warning("Could not %s (%s); if its table is missing, run migrate.", doing, str(error).strip())
