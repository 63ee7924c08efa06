"""What can be said about the backups of one source by looking at them: overdue, shrunken, disproved. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from itertools import takewhile
from statistics import median

from django_cfg.backup.config.schedule import BackupScheduleConfig
from django_cfg.backup.formatting import megabytes
from django_cfg.backup.manifest import Manifest, Proof
from django_cfg.backup.policy.retention import is_from_the_future
from django_cfg.backup.policy.schedule import latest_slot

_COMPARED = 10  # backups before the newest


def is_overdue(schedule: BackupScheduleConfig, zone: tzinfo, backups: Sequence[Manifest], now: datetime) -> bool:
    """Return True if a slot has passed unserved for longer than the grace plus the duration of the last backup.

    :param backups: of the source, newest first. Without any it is overdue at once; those from the future do not count.
    """
    past = [backup for backup in backups if not is_from_the_future(backup, now)]
    if not past:
        return True
    last = past[0]
    patience = timedelta(minutes=schedule.grace_minutes) + last.took
    slot = latest_slot(schedule, zone, now - patience, last.started_at)
    return slot is not None and not any(_serves(backup, slot) for backup in past)


def size_warning(backups: Sequence[Manifest]) -> str:
    """Say that the newest of *backups* (newest first) is much smaller than the ones before; empty if it is not."""
    if len(backups) < 2:
        return ""
    newest, *before = backups[: _COMPARED + 1]
    usual = int(median(backup.size for backup in before))
    if newest.size * 2 >= usual:
        return ""
    return (
        f"{newest.name} has {megabytes(newest.size)}, less than half of what the last {len(before)} had "
        f"({megabytes(usual)}): see whether rows are missing, with `backup_show {newest.name}`"
    )


def last_proof(backups: Sequence[Manifest], proofs: Mapping[str, Proof]) -> Proof | None:
    """Return the last drill of any of *backups*; *proofs* are by the backup's name."""
    found = (proofs[backup.name] for backup in backups if backup.name in proofs)
    return max(found, key=lambda proof: proof.at, default=None)


def disproof(backups: Sequence[Manifest], proofs: Mapping[str, Proof]) -> Proof | None:
    """Return the failed drill that counts: the last drill, or one of a backup newer than every proved one."""
    last = last_proof(backups, proofs)
    if last and not last.succeeded:
        return last
    unproved = takewhile(lambda backup: not (backup.name in proofs and proofs[backup.name].proves(backup)), backups)
    found = (proofs[backup.name] for backup in unproved if backup.name in proofs)
    return next((proof for proof in found if not proof.succeeded), None)


def _serves(backup: Manifest, slot: datetime) -> bool:
    return backup.started_at >= slot or (backup.slot is not None and backup.slot >= slot)
