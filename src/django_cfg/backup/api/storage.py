"""Reading the storage within a few seconds: the one place that knows the snapshot which pages read."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from django_cfg.backup.errors import StorageError
from django_cfg.backup.services.catalog.catalog import Catalog
from django_cfg.backup.services.monitoring.snapshot import PATIENCE, read_backups, read_catalog_now, within
from django_cfg.backup.services.monitoring.status import StatusReport, read_status
from django_cfg.backup.services.project.project import Project

T = TypeVar("T")
_LEAST = 1.0  # seconds for the databases, when the storage has taken the others


def read_catalog() -> Catalog:
    """Read the catalog, from copies where they are current.

    :raises StorageError: the storage does not answer.
    """
    stored = read_backups()
    if stored.catalog is None:
        raise StorageError(stored.error)
    return stored.catalog


def read_fresh_catalog(project: Project) -> Catalog:
    """Read the catalog from the storage itself, for what begins a job.

    :raises StorageError: the storage does not answer.
    """
    return read_catalog_now(project)


def read_report(project: Project) -> StatusReport:
    """Read how the backups are doing.

    :raises StorageError: the storage or one of the databases does not answer.
    """
    deadline = time.monotonic() + PATIENCE
    catalog = read_catalog()
    seconds = max(deadline - time.monotonic(), _LEAST)
    read = partial(read_status, project, catalog, patience=0.6 * seconds)
    return within(seconds, read, "One of the databases")


def read_soon(read: Callable[[], T], what: str) -> T:
    """
    :param what: is read, for the message.
    :raises StorageError: it takes more than a few seconds.
    """
    return within(PATIENCE, read, what)
