"""Serving a claim: the backup that a job, or a tick in place, makes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from django_cfg.backup import signals
from django_cfg.backup.errors import (
    AlreadyRunning,
    BackupError,
    Cancelled,
    CopyFailed,
    HistoryUnavailable,
    StorageError,
)
from django_cfg.backup.manifest import Manifest, Source
from django_cfg.backup.models import Run
from django_cfg.backup.services.catalog.places import read_places
from django_cfg.backup.services.creation.create import create_backup
from django_cfg.backup.services.project.progress import SILENT, Progress
from django_cfg.backup.services.project.project import Project, current_project, operation
from django_cfg.backup.services.runs.history_database import find_runs, required, retry_while_locked
from django_cfg.backup.services.schedule.claims import abandon_claim

_log = logging.getLogger("django_cfg.backup")


@operation()
def run_claimed_backup(run: int, database: str, claimed: str, progress: Progress = SILENT) -> Manifest | None:
    """Make the backup of the claim *run*.

    :param claimed: when, in ISO 8601: after a restore the number may be another claim's.
    :returns: None if the claim is no longer waiting, or another backup of the source has to end first.
    :raises CopyFailed: the backup is made, and missing in a place that is required; the signal has been sent.
    :raises BackupError: the backup failed; the signal has been sent.
    """
    project = current_project()
    source = project.source(database)
    with history_failures_sent(source, Run.Kind.BACKUP):
        with required(f"look up the claim of {source}"):
            claim = find_waiting(source, run, claimed)
            if claim is None or project.config.schedule_for(database) is None or _is_served(project, claim):
                return None
        try:
            manifest = _make(claim, progress)
        except CopyFailed:
            send_begun(source, Run.Kind.BACKUP)
            raise
    if manifest:
        send_begun(source, Run.Kind.BACKUP)
    return manifest


def run_backup_job(run: int, database: str, claimed: str) -> str:
    """Make the backup of a claim in a worker of a queue; its name, empty if the claim waits no more.

    A copy that is missing is no failure of the job: the next tick makes up for it.

    :raises BackupError: the backup failed; the signal has been sent.
    """
    try:
        manifest = run_claimed_backup(run, database, claimed)
    except CopyFailed as error:
        _log.warning("%s", error)
        manifest = error.manifest
    return manifest.name if manifest else ""


@contextmanager
def history_failures_sent(source: Source, kind: Run.Kind) -> Iterator[None]:
    """Send that the history cannot be used from here; a ticker elsewhere may not notice."""
    try:
        yield
    except HistoryUnavailable as error:
        facts = {"project": source.project, "env": source.env, "source": source, "kind": str(kind)}
        signals.send(signals.schedule_failed, **facts, message=str(error))
        raise


def send_begun(source: Source, kind: Run.Kind) -> None:
    """Send that the scheduled run of *source* has begun."""
    facts = {"project": source.project, "env": source.env, "source": source, "kind": str(kind)}
    signals.send(signals.schedule_succeeded, **facts)


def _make(claim: Run, progress: Progress) -> Manifest | None:
    try:
        return create_backup(claim.database, trigger="scheduled", progress=progress, claim=claim)
    except AlreadyRunning as error:
        _log.info("%s It is tried again with the next tick.", error)
        return None
    except Cancelled as error:  # no failure
        _log.info("%s", error)
        return None
    except (CopyFailed, HistoryUnavailable):
        raise
    except BackupError as error:
        with required("record why the backup could not begin"):
            abandon_claim(claim, error)  # has no effect on a run that had begun, whose failure has been sent
        raise


def find_waiting(source: Source, run: int, claimed: str, kind: Run.Kind = Run.Kind.BACKUP) -> Run | None:
    """The claim, unless it waits no more or is another one's now."""
    waiting = find_runs(source, kind).filter(state=Run.State.QUEUED, queued_at=datetime.fromisoformat(claimed))
    return waiting.filter(pk=run).first()


def _is_served(project: Project, claim: Run) -> bool:
    """A backup carries the slot already: the claim came back with a restored database."""
    try:
        backups = read_places(project).of(project)
    except StorageError:
        return False  # the backup itself will meet it, and tell
    served = any(b.source.database == claim.database and b.slot == claim.slot for b in backups)
    if served:
        retry_while_locked(lambda: find_runs().filter(pk=claim.pk, state=Run.State.QUEUED).delete())
    return served
