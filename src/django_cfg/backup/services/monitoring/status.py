"""How the backups stand, source by source: from the storage alone, so that it works with no history."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from statistics import median

from django_cfg.backup.config.schedule import BackupScheduleConfig
from django_cfg.backup.formatting import megabytes
from django_cfg.backup.manifest import Manifest, Proof, Source
from django_cfg.backup.policy.retention import is_from_the_future
from django_cfg.backup.policy.schedule import latest_slot, next_slot
from django_cfg.backup.services.catalog.catalog import Catalog, Damaged, damaged_of, describe_damage
from django_cfg.backup.services.monitoring.incidents import Incident
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.verification.proofs import can_be_drilled, can_be_opened_here, proof_is_old

_COMPARED = 10  # backups before the newest


@dataclass(frozen=True)
class SourceStatus:
    """One source. It is healthy when it has no problems."""

    source: Source
    last: Manifest | None  # the newest backup that is not from the future
    age: timedelta | None  # of that
    next_slot: datetime | None  # None: nothing backs it up by itself
    is_overdue: bool
    proof: Proof | None  # the last drill
    is_provable_here: bool  # False: it opens with a private key that is elsewhere, or is of a kind that is not drilled
    damaged: tuple[Damaged, ...]  # pairs that are no backups any more
    problems: tuple[str, ...]


def status_of(project: Project, catalog: Catalog) -> list[SourceStatus]:
    """All sources of the project."""
    return [_status(project, catalog, project.source(alias)) for alias in project.aliases()]


def is_overdue(
    project: Project, schedule: BackupScheduleConfig, backups: list[Manifest], now: datetime | None = None
) -> bool:
    """Whether a slot has passed unserved for longer than the grace, and than the last backup took.

    :param backups: of the source, newest first. Without any it is overdue at once; those from the future do not count.
    """
    now = now or clock.now()
    past = [backup for backup in backups if not is_from_the_future(backup, now)]
    if not past:
        return True
    last = past[0]
    patience = timedelta(minutes=schedule.grace_minutes) + (last.finished_at - last.started_at)
    slot = latest_slot(schedule, project.zone, now - patience, last.started_at)
    return slot is not None and not any(_serves(backup, slot) for backup in past)


def trend_warning(backups: list[Manifest]) -> str:
    """What is odd about the size of the newest of *backups* (newest first); empty when nothing is."""
    if len(backups) < 2:
        return ""
    newest, *before = backups[: _COMPARED + 1]
    usual = int(median(backup.archive.size for backup in before))
    if newest.archive.size * 2 >= usual:
        return ""
    return (
        f"{newest.name} has {megabytes(newest.archive.size)}, less than half of what the last {len(before)} had "
        f"({megabytes(usual)}): see whether rows are missing, with `backup_show {newest.name}`"
    )


def last_proof(backups: list[Manifest], catalog: Catalog) -> Proof | None:
    proofs = (catalog.proofs[backup.name] for backup in backups if backup.name in catalog.proofs)
    return max(proofs, key=lambda proof: proof.at, default=None)


def disproof(backups: list[Manifest], catalog: Catalog) -> Proof | None:
    """The failed drill that counts: the last drill, or one of a backup newer than every proved one."""
    last = last_proof(backups, catalog)
    if last and not last.succeeded:
        return last
    unproved = takewhile(lambda backup: not catalog.is_proved(backup), backups)
    proofs = (catalog.proofs[backup.name] for backup in unproved if backup.name in catalog.proofs)
    return next((proof for proof in proofs if not proof.succeeded), None)


def _status(project: Project, catalog: Catalog, source: Source) -> SourceStatus:
    now = clock.now()
    of_source = [manifest for manifest in catalog.backups if manifest.source == source]
    backups = [backup for backup in of_source if not is_from_the_future(backup, now)]
    last = backups[0] if backups else None
    schedule = project.config.schedule_for(source.database)
    overdue = schedule is not None and is_overdue(project, schedule, backups, now)
    damaged = tuple(damaged_of(project, catalog, source.database))
    return SourceStatus(
        source=source,
        last=last,
        age=now - last.started_at if last else None,
        next_slot=next_slot(schedule, project.zone, now, last.started_at if last else None) if schedule else None,
        is_overdue=overdue,
        proof=last_proof(backups, catalog),
        is_provable_here=last is None or (can_be_drilled(last) and can_be_opened_here(last)),
        damaged=damaged,
        problems=tuple(
            filter(
                None,
                (
                    _lateness(overdue, last),
                    _skew([backup for backup in of_source if is_from_the_future(backup, now)]),
                    trend_warning(backups),
                    _unpruned(project, source),
                    _disproved(disproof(backups, catalog)),
                    describe_damage(damaged).rstrip("."),
                    proof_is_old(project, backups, catalog, now),
                ),
            )
        ),
    )


def _serves(backup: Manifest, slot: datetime) -> bool:
    return backup.started_at >= slot or (backup.slot is not None and backup.slot >= slot)


def _lateness(overdue: bool, last: Manifest | None) -> str:
    if not overdue:
        return ""
    if last is None:
        return "it has a schedule, and was never backed up: see whether a ticker and a worker run"
    return "the backup is overdue: see whether a ticker and a worker run, and why the last runs failed"


def _skew(future: list[Manifest]) -> str:
    if not future:
        return ""
    return (
        f"{future[0].name} is dated {future[0].started_at:%Y-%m-%d %H:%M} UTC, ahead of this clock, and does not "
        "count; nothing is pruned either: set the clock that is wrong, or, if it was that backup's, run "
        f"`backup_delete {future[0].name}`"
    )


def _unpruned(project: Project, source: Source) -> str:
    """By the mark of what was told: what is locked is due as well, and no trouble."""
    message = Incident(project, "prune", source.database).message()
    return f"old backups were not pruned as the retention says: {message}" if message else ""


def _disproved(proof: Proof | None) -> str:
    if proof is None:
        return ""
    return f"the drill of {proof.name} failed: {'; '.join(proof.differences).rstrip('.') or 'it could not be restored'}"
