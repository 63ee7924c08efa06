"""One running row of a source at a time: the lock that reaches other machines.

The unique constraint lets one row of a source hold the lease. Its run says every few seconds that it lives;
one that has been silent for ``DEAD_AFTER``, by the clock of the history's database, or whose process is seen to be
gone, is failed and loses it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from django.db import IntegrityError

from django_cfg.backup import signals
from django_cfg.backup.errors import AlreadyRunning, StorageError
from django_cfg.backup.manifest import Manifest, Source
from django_cfg.backup.models import BackupRun
from django_cfg.backup.services.catalog.catalog import read_catalog
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.runs.file_lock import holder_lives
from django_cfg.backup.services.runs.heartbeat import shared_now
from django_cfg.backup.services.runs.history_database import home, patiently, rows

T = TypeVar("T")
DEAD_AFTER = timedelta(minutes=5)
_ENDED_SILENTLY = (
    "Its process is gone, and has not said how it ended: it was killed, or the machine was restarted. Nothing was "
    "published; the next due backup is made as usual, `backup_create` makes one now."
)

_VERIFICATION_ENDED_SILENTLY = (
    "The verification's process is gone, and has not said how it ended: it was killed, or the machine was restarted. "
    "What it left is removed by the next drill; `backup_verify latest --drill` makes one now."
)


def begin(project: Project, row: BackupRun, lock_file: str) -> None:
    """Write the new *row* as the one run of its source.

    :raises AlreadyRunning: another one is alive.
    """
    for name, value in _signs_of_life(lock_file).items():
        setattr(row, name, value)
    _with_lease(project, row, lock_file, lambda: row.save(using=home()))


def start(project: Project, claim: BackupRun, lock_file: str) -> None:
    """Turn the waiting *claim* into the one run of its source.

    :raises AlreadyRunning: another one is alive, or the claim waits no more.
    """
    waiting = rows().filter(pk=claim.pk, state=BackupRun.State.QUEUED, queued_at=claim.queued_at)
    if not _with_lease(project, claim, lock_file, lambda: waiting.update(**_signs_of_life(lock_file))):
        raise AlreadyRunning(
            f"The claimed {claim.kind} of {source_of(claim)} waits no more: it was started or given up elsewhere."
        )
    claim.refresh_from_db(using=home())


def is_alive(project: Project, row: BackupRun, mine: str = "") -> bool:
    """Whether the run goes on, as far as can be known from here.

    :param mine: the lock file that this process holds: whoever held it before is gone.
    """
    lives = False if mine and row.lock_file == mine else holder_lives(project, source_of(row), row.lock_file, row.kind)
    if lives is not None:
        return lives
    last = row.heartbeat_at or row.started_at
    return last is not None and shared_now() - last < DEAD_AFTER


def bury(project: Project, row: BackupRun) -> None:
    """End the run of a process that is gone, and tell of it; of several who find it, one does."""
    is_backup = row.kind == BackupRun.Kind.BACKUP
    manifest = _published(project, row) if is_backup else None
    same = rows().filter(pk=row.pk, state=BackupRun.State.RUNNING, heartbeat_at=row.heartbeat_at)
    ended = patiently(lambda: same.update(**_end(manifest, is_backup=is_backup)))
    if ended and manifest is None:
        tell_failure(row, _ENDED_SILENTLY if is_backup else _VERIFICATION_ENDED_SILENTLY)


def tell_failure(row: BackupRun, message: str) -> None:
    """Tell that the run came to nothing, before it could say so itself."""
    if row.kind == BackupRun.Kind.BACKUP:
        signals.tell(signals.backup_failed, BackupRun, source=source_of(row), message=message)
    else:
        signals.tell(signals.drill_failed, BackupRun, source=source_of(row), proof=None, message=message)


def source_of(row: BackupRun) -> Source:
    return Source(project=row.project, env=row.env, database=row.database)


def _signs_of_life(lock_file: str) -> dict[str, Any]:
    return {
        "state": BackupRun.State.RUNNING,
        "lease": True,
        "host": socket.gethostname(),
        "lock_file": lock_file,
        "started_at": clock.now(),
        "heartbeat_at": shared_now(),
    }


def _with_lease(project: Project, row: BackupRun, lock_file: str, write: Callable[[], T]) -> T:
    """Do the *write* that takes the lease; once more when whoever holds it turns out to be gone."""
    try:
        return patiently(write)
    except IntegrityError:
        holder = _holder(row)
        if holder is None:
            raise
    if not is_alive(project, holder, lock_file):
        bury(project, holder)
        try:
            return patiently(write)
        except IntegrityError:
            holder = _holder(row) or holder
    raise AlreadyRunning(
        f"A {row.kind} of {source_of(row)} has been running on {holder.host} since {holder.started_at:%Y-%m-%d %H:%M} "
        f"UTC, and two at once are never made: wait for its end. If that process is gone, it is noticed "
        f"{DEAD_AFTER.seconds // 60} minutes after its last sign of life."
    )


def _holder(row: BackupRun) -> BackupRun | None:
    return rows(source_of(row), row.kind).filter(lease=True).first()


def _published(project: Project, row: BackupRun) -> Manifest | None:
    """What the run has published before it could say so."""
    try:
        catalog = read_catalog(project.storage)
    except StorageError:
        return None
    return next((manifest for manifest in catalog.backups if row.name and manifest.name == row.name), None)


def _end(manifest: Manifest | None, *, is_backup: bool) -> dict[str, Any]:
    if manifest is None:
        return {
            "state": BackupRun.State.FAILED,
            "lease": None,
            "finished_at": clock.now(),
            "message": _ENDED_SILENTLY if is_backup else _VERIFICATION_ENDED_SILENTLY,
        }
    return {
        "state": BackupRun.State.SUCCEEDED,
        "lease": None,
        "finished_at": manifest.finished_at,
        "size": manifest.archive.size,
    }
