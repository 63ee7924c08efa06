"""How the backups are doing, as numbers for Prometheus: what the admin shows, read as the admin reads it.

A scrape costs one list of the storage, and at most one every half minute; it never waits longer than a page.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from django.db import transaction

from django_cfg.backup.errors import StorageError, UsageError
from django_cfg.backup.formatting import MB
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.models import Run
from django_cfg.backup.services.monitoring.snapshot import PATIENCE, Snapshot, read_snapshot
from django_cfg.backup.services.monitoring.status import SourceStatus
from django_cfg.backup.services.project.project import current_project, operation
from django_cfg.backup.services.runs.history_database import attempted, find_runs, history_alias

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BELIEVED_FOR = 30.0  # seconds
# By name, without the prefix: what the number is.
_HELP = {
    "readable": "1 if the state of the backups could be read, else 0, and the metrics of databases are missing.",
    "read_timestamp_seconds": "When these numbers were read.",
    "last_success_timestamp_seconds": "Start of the newest backup.",
    "last_proof_timestamp_seconds": "The last drill that has proved a backup.",
    "next_slot_timestamp_seconds": "Due time of the next scheduled backup; in the past if it is due.",
    "size_bytes": "Size of the newest backup as stored.",
    "duration_seconds": "How long the newest backup took.",
    "expected_recovery_seconds": "How long the last drill that succeeded took.",
    "overdue": "1 if a backup is overdue, else 0.",
    "proof_overdue": "1 if a drill is overdue, else 0.",
    "healthy": "1 if backup_status reports no problem, else 0.",
    "failures_in_a_row": "Failed backups since the last one that succeeded; missing if the history cannot be read.",
    "backups": "Number of backups.",
    "storage_bytes": "Size of all backups of the database as stored.",
    "place_healthy": "0 if a place that is required is away, or lacks or damages a backup, else 1.",
    "place_backups": "Number of backups in a place; missing if it cannot be read.",
    "place_missing_backups": "Number of backups that are to be copied to a place; missing if it cannot be read.",
    "place_storage_bytes": "Size of the backups in a place as stored.",
    "place_last_success_timestamp_seconds": "Start of the newest backup in a place.",
    "storage_limit_bytes": "max_total_size_mb of the project in bytes; missing if there is no limit.",
}
PREFIX = "django_cfg_backup_"
NAMES = {f"{PREFIX}{name}": text for name, text in _HELP.items()}
_reading = threading.Lock()
_recent: dict[str, tuple[float, Metrics]] = {}  # by project and place


@dataclass(frozen=True)
class Sample:
    """One number."""

    labels: dict[str, str]
    value: float


@dataclass(frozen=True)
class Metrics:
    """The samples by the complete name of the metric, in the order of :data:`NAMES`."""

    samples: dict[str, list[Sample]] = field(default_factory=lambda: {name: [] for name in NAMES})
    error: str = ""  # why the state could not be read

    def add(self, name: str, labels: dict[str, str], value: float | None) -> None:
        """Add a number; None: it is not known, and left out."""
        if value is not None:
            self.samples[f"{PREFIX}{name}"].append(Sample(labels, float(value)))

    def __str__(self) -> str:
        """The text format of Prometheus."""
        return "".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for name, samples in self.samples.items():
            if samples:
                yield f"# HELP {name} {NAMES[name]}\n# TYPE {name} gauge\n"
            for sample in samples:
                labels = ",".join(f'{label}="{_escape(text)}"' for label, text in sample.labels.items())
                yield f"{name}{{{labels}}} {sample.value!r}\n"


@operation()
def read_metrics(patience: float = PATIENCE) -> Metrics:
    """Read all numbers.

    :param patience: seconds for all of it.
    :raises ConfigurationError: settings.BACKUP cannot be used.
    """
    return _of_snapshot(read_snapshot(patience))


@operation()
def recent_metrics() -> Metrics:
    """Return the numbers of the last half minute. Of several scrapes at once, one reads and the others wait for it.

    :raises ConfigurationError: settings.BACKUP cannot be used.
    """
    project = current_project()
    key = "\0".join((project.name, project.env, project.location))
    with _reading:
        read_at, metrics = _recent.get(key, (0.0, None))
        if metrics is None or time.monotonic() - read_at > _BELIEVED_FOR:
            metrics = read_metrics()
            _recent[key] = (time.monotonic(), metrics)
    return metrics


def forget_metrics() -> None:
    """Read again with the next scrape."""
    _recent.clear()


def write_metrics(metrics: Metrics, file: Path) -> None:
    """Replace *file* in one step; anyone on the machine may read it, as node_exporter's user has to.

    :raises UsageError: *file* is no ordinary file.
    :raises StorageError: it cannot be written.
    """
    file = file.resolve()
    if file.exists() and not file.is_file():
        raise UsageError(f"{file} is no file, so nothing was written there. Give --output the name of a file.")
    new = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        new.unlink(missing_ok=True)
        with new.open("x", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), 0o644)
            stream.write(str(metrics))
        new.replace(file)
    except OSError as error:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise StorageError.from_os("write", file, error) from error


def _of_snapshot(snapshot: Snapshot) -> Metrics:
    project, now = snapshot.stored.project, snapshot.stored.now
    of_project = {"project": project.name, "env": project.env}
    known = snapshot.report is not None
    metrics = Metrics(error="" if known else snapshot.stored.error or snapshot.summary.sentence)
    metrics.add("readable", of_project, known)
    metrics.add("read_timestamp_seconds", of_project, now.timestamp())
    limit = project.config.retention.max_total_size_mb
    metrics.add("storage_limit_bytes", of_project, limit * MB if limit else None)
    if snapshot.report is None:
        return metrics
    for place in snapshot.report.places:
        labels = of_project | {"place": place.name}
        metrics.add("place_healthy", labels, place.healthy)
        metrics.add("place_backups", labels, place.backups)
        metrics.add("place_missing_backups", labels, len(place.missing) if place.reachable else None)
        metrics.add("place_storage_bytes", labels, place.size)
        metrics.add("place_last_success_timestamp_seconds", labels, _timestamp(place.newest))
    failures = _failures_in_a_row(snapshot.report.sources)
    for status in snapshot.report.sources:
        backups = [backup for backup in snapshot.stored.backups if backup.source == status.source]
        _add_source(metrics, snapshot, status, backups)
        metrics.add("failures_in_a_row", _labels(status), failures.get(status.database))
    return metrics


def _add_source(metrics: Metrics, snapshot: Snapshot, status: SourceStatus, backups: list[Manifest]) -> None:
    """Add the numbers of one database; *backups* are newest first."""
    labels, proof = _labels(status), status.last_proof
    newest = next((backup for backup in backups if backup.name == status.last_backup), None)
    proofs = snapshot.stored.catalog.proofs if snapshot.stored.catalog else {}
    proved = [proofs[one.name].at for one in backups if one.name in proofs and proofs[one.name].proves(one)]
    metrics.add("last_success_timestamp_seconds", labels, _timestamp(status.last_success))
    metrics.add("last_proof_timestamp_seconds", labels, _timestamp(max(proved, default=None)))
    metrics.add("next_slot_timestamp_seconds", labels, _timestamp(status.next_slot))
    metrics.add("size_bytes", labels, status.size)
    metrics.add("duration_seconds", labels, newest.took.total_seconds() if newest else None)
    metrics.add("expected_recovery_seconds", labels, proof.duration if proof and proof.succeeded else None)
    metrics.add("overdue", labels, status.overdue)
    metrics.add("proof_overdue", labels, status.proof_overdue)
    metrics.add("healthy", labels, status.healthy)
    metrics.add("backups", labels, len(backups))
    metrics.add("storage_bytes", labels, sum(backup.size for backup in backups))


def _timestamp(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None


def _labels(status: SourceStatus) -> dict[str, str]:
    """The labels of all metrics of a database."""
    return {"project": status.project, "env": status.env, "database": status.database}


def _failures_in_a_row(statuses: tuple[SourceStatus, ...]) -> dict[str, int]:
    """By alias; empty if the history cannot be read."""
    found: dict[str, int] = {}
    with attempted("count the failures in a row") as is_possible:
        if is_possible:
            with transaction.atomic(using=history_alias()):  # a refusal must not end the transaction of the request
                for status in statuses:
                    failed = find_runs(status.source).filter(state=Run.State.FAILED)
                    if status.last_success:
                        failed = failed.filter(finished_at__gt=status.last_success)
                    found[status.database] = failed.count()
    return found


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
