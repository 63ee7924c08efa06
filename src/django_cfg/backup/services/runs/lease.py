"""One running row of a source and kind at a time: the lock that reaches other machines.

The unique constraint allows one row of a source to hold the lease. Its run writes a heartbeat every few seconds. A run
that has been silent for ``DEAD_AFTER``, by the clock of the history's database, or whose process is seen to be gone, is
failed and loses the lease.
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
from django_cfg.backup.models import Run
from django_cfg.backup.services.catalog.places import find_intact_anywhere
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.runs.file_lock import (
    holder_lives,
    is_of_a_dead_process,
    is_of_an_earlier_boot,
    is_same_file,
)
from django_cfg.backup.services.runs.heartbeat import shared_now
from django_cfg.backup.services.runs.history_database import (
    find_runs,
    history_alias,
    refusal_logged,
    retry_while_locked,
)

T = TypeVar("T")
DEAD_AFTER = timedelta(minutes=5)
_KILLED = "Its process is gone and has not recorded how it ended: it was killed, or the machine was restarted. "
_WHAT_NOW = {
    Run.Kind.BACKUP: (
        "Nothing was published; the next due backup is made as usual, and `backup_create` makes one now."
    ),
    Run.Kind.VERIFICATION: (
        "What the verification left is removed by the next drill; `backup_verify latest --drill` makes one now."
    ),
    Run.Kind.RESTORE: (
        "The database is completely as it was or completely restored; if it is neither, the next restore says so and "
        "names `backup_restore --resume`."
    ),
}


def begin(project: Project, row: Run, lock_file: str) -> None:
    """Write the new *row*; unless it is a restore, as the one run of its source.

    :raises AlreadyRunning: another run of this kind is alive.
    """
    for name, value in _signs_of_life(row, lock_file).items():
        setattr(row, name, value)
    _write_with_lease(project, row, lock_file, lambda: row.save(using=history_alias()))


def start(project: Project, claim: Run, lock_file: str) -> None:
    """Turn the waiting *claim* into the one run of its source.

    :raises AlreadyRunning: another one is alive, or the claim is no longer waiting.
    """
    waiting = find_runs().filter(pk=claim.pk, state=Run.State.QUEUED, queued_at=claim.queued_at)
    if not _write_with_lease(project, claim, lock_file, lambda: waiting.update(**_signs_of_life(claim, lock_file))):
        raise AlreadyRunning(
            f"The claimed {claim.kind} of {claim.source} is no longer waiting: it was started or given up elsewhere."
        )
    claim.refresh_from_db(using=history_alias())


def is_alive(project: Project, row: Run, mine: str = "") -> bool:
    """Return True if the run goes on, as far as this machine can know.

    :param mine: the lock file that this process holds: any earlier holder is gone.
    """
    is_mine = mine and is_same_file(row.lock_file, mine)
    lives = False if is_mine else holder_lives(project, row.source, row.lock_file, row.kind)
    if lives is not None:
        return lives
    if is_of_an_earlier_boot(row.lock_file, row.host) or is_of_a_dead_process(row.lock_file):
        return False
    last = row.heartbeat_at or row.started_at
    return last is not None and shared_now() - last < DEAD_AFTER


def require_idle(project: Project, source: Source, kind: str) -> None:
    """Look before a job of this *kind* is started; the run itself takes the lock.

    :raises AlreadyRunning: the history says that such a run of *source* is under way.
    """
    with refusal_logged("look whether such a run is under way"):
        for row in find_runs(source, kind).filter(state=Run.State.RUNNING):
            if is_alive(project, row):
                raise _already_running(row, row)


def fail_dead_runs(
    project: Project, kind: Run.Kind | None = None, *, mine: str = "", living: int | None = None
) -> None:
    """Fail the running rows whose process is gone.

    :param kind: of the runs; None: of every kind.
    :param mine: the lock file that this process holds.
    :param living: the row of this process.
    """
    running = find_runs().filter(project=project.name, env=project.env, state=Run.State.RUNNING).exclude(pk=living or 0)
    for row in running.filter(kind=kind) if kind else running:
        if not is_alive(project, row, mine):
            fail_dead_run(project, row)


def fail_dead_run(project: Project, row: Run) -> None:
    """End the run of a process that is gone, and send its signal; of several callers at once, one does."""
    manifest = _published(project, row) if row.kind == Run.Kind.BACKUP else None
    message = _KILLED + _WHAT_NOW[Run.Kind(row.kind)]
    same = find_runs().filter(pk=row.pk, state=Run.State.RUNNING, heartbeat_at=row.heartbeat_at)
    ended = retry_while_locked(lambda: same.update(lease=None, **_end(manifest, message)))
    if ended and manifest is None:
        send_failure(row, message)


def send_failure(row: Run, message: str) -> None:
    """Send the signal of a run that failed before it could send one itself."""
    match row.kind:
        case Run.Kind.BACKUP:
            signals.send(signals.backup_failed, source=row.source, message=message)
        case Run.Kind.VERIFICATION:
            signals.send_verification(signals.verification_failed, row.source, message, drill=True, trigger="scheduled")
        case _:
            signals.send(signals.restore_failed, manifest=None, database=row.database, message=message)


def _signs_of_life(row: Run, lock_file: str) -> dict[str, Any]:
    return {
        "state": Run.State.RUNNING,
        "lease": True if row.kind != Run.Kind.RESTORE else None,
        "host": socket.gethostname(),
        "lock_file": lock_file,
        "started_at": clock.now(),
        "heartbeat_at": shared_now(),
    }


def _write_with_lease(project: Project, row: Run, lock_file: str, write: Callable[[], T]) -> T:
    """Do the *write* that takes the lease; once more if the holder of the lease turns out to be dead."""
    try:
        return retry_while_locked(write)
    except IntegrityError:
        holder = _holder(row)
        if holder is None:
            raise
    if not is_alive(project, holder, lock_file):
        fail_dead_run(project, holder)
        try:
            return retry_while_locked(write)
        except IntegrityError:
            holder = _holder(row) or holder
    raise _already_running(row, holder)


def _already_running(row: Run, holder: Run) -> AlreadyRunning:
    return AlreadyRunning(
        f"A {row.kind} of {row.source} has been running on {holder.host} since {holder.started_at:%Y-%m-%d %H:%M} "
        f"UTC, and two at once are never made: wait for its end. If that process is gone, this is noticed "
        f"{DEAD_AFTER.seconds // 60} minutes after its last sign of life."
    )


def _holder(row: Run) -> Run | None:
    return find_runs(row.source, row.kind).filter(lease=True).first()


def _published(project: Project, row: Run) -> Manifest | None:
    """The backup that the run has published before it could record it."""
    try:
        return find_intact_anywhere(project, row.name) if row.name else None
    except StorageError:
        return None


def _end(manifest: Manifest | None, message: str) -> dict[str, Any]:
    if manifest is None:
        return {"state": Run.State.FAILED, "finished_at": clock.now(), "message": message}
    return {"state": Run.State.SUCCEEDED, "finished_at": manifest.finished_at, "size": manifest.size}
