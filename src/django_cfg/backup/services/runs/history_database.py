"""The database that holds the history: where it is, and how its errors are handled."""

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
from django_cfg.backup.models import Run
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.runs.reachability import PATIENCE, is_reachable

T = TypeVar("T")
# What using the database may raise: ImproperlyConfigured and ImportError where the driver is missing, OSError where a
# driver passes on that a file of its settings is (PyMySQL with a missing ssl_ca).
REFUSALS = (Error, ImproperlyConfigured, ImportError, OSError)
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)  # seconds, after each of which the driver waits, too
_log = logging.getLogger("django_cfg.backup")


def history_alias() -> str:
    """The alias of the database that holds the history."""
    return router.db_for_write(Run) or "default"


def find_runs(source: Source | None = None, kind: Run.Kind | str = Run.Kind.BACKUP) -> models.QuerySet[Run]:
    """The runs of *source* of one *kind*; None: all of every kind."""
    every = Run.objects.using(history_alias())
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
        return "" if is_reachable(alias) else f"does not answer within {PATIENCE:.0f} s"
    except REFUSALS:
        return ""  # using it will tell


def reconcile(manifests: list[Manifest]) -> None:
    """Correct the history after a restore: the dump held its own run as running, and the storage knows how it ended."""
    published = {manifest.name: manifest for manifest in manifests}
    with refusal_logged("reconcile the history with the storage"), transaction.atomic(using=history_alias()):
        find_runs().filter(state=Run.State.QUEUED).delete()  # claims of another time: a tick makes them again
        for row in find_runs().filter(state=Run.State.RUNNING):
            made = published.get(row.name) if row.kind == Run.Kind.BACKUP else None
            _settle(row, made, "It was running in the backup that was restored")


def reconcile_if_restored(manifests: list[Manifest]) -> None:
    """:func:`reconcile` where it is seen that the table came from a dump: the dump's own run is running in it."""
    published = {manifest.name for manifest in manifests}
    with refusal_logged("see whether the history was restored"):
        running = find_runs().filter(state=Run.State.RUNNING, kind=Run.Kind.BACKUP)
        if published.intersection(running.values_list("name", flat=True)):
            reconcile(manifests)


def _settle(row: Run, manifest: Manifest | None, why: str) -> None:
    """End a run whose process is gone; *manifest* is what it has published, if anything."""
    row.state = Run.State.SUCCEEDED if manifest else Run.State.FAILED
    row.lease = None
    row.finished_at = manifest.finished_at if manifest else clock.now()
    row.size = manifest.size if manifest else None
    row.message = "" if manifest else f"{why}; no backup of this name is stored."
    row.save()


@contextmanager
def attempted(doing: str) -> Iterator[bool]:
    """Yields whether there is a database to write to; its refusal is logged."""
    hindrance = _hindrance(history_alias())
    if hindrance:
        _log.warning("Could not %s: its database %r %s.", doing, history_alias(), hindrance)
    with refusal_logged(doing):
        yield not hindrance


@contextmanager
def required(doing: str) -> Iterator[None]:
    """Raise a database's refusal as ours: what happens here is nothing without the history.

    :raises HistoryUnavailable: it refused, or is not there.
    """
    if hindrance := _hindrance(history_alias()):
        raise HistoryUnavailable(
            f"Could not {doing}: the database {history_alias()!r}, which keeps the history, {hindrance}. Bring it "
            "back, then run migrate; `backup_create` works without it."
        )
    try:
        yield
    except REFUSALS as error:
        raise HistoryUnavailable(
            f"Could not {doing}: the history in the database {history_alias()!r} cannot be used "
            f"({str(error).strip()}). Without it nothing keeps a slot from being served twice, so nothing was started. "
            "Fix the database, or run migrate if the table is missing; `backup_create` works without it."
        ) from error


def retry_while_locked(write: Callable[[], T]) -> T:
    """Do one small write in a transaction, again for a while when SQLite says that another writes."""
    for pause in _PAUSES:
        try:
            with transaction.atomic(using=history_alias()):
                return write()
        except OperationalError as error:
            if "locked" not in str(error):
                raise
            time.sleep(pause * (1 + random.random()))  # noqa: S311  so that two do not meet again
    with transaction.atomic(using=history_alias()):
        return write()


@contextmanager
def refusal_logged(doing: str) -> Iterator[None]:
    """Log a database's refusal instead of raising it."""
    try:
        yield
    except REFUSALS as error:
        _log.warning("Could not %s (%s); if its table is missing, run migrate.", doing, str(error).strip())
