"""How the backups of each source are doing: from the storage alone, so that it works without the history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo

from django_cfg.backup.config.schedule import BackupScheduleConfig
from django_cfg.backup.errors import BackupError, StorageError
from django_cfg.backup.formatting import counted, listed
from django_cfg.backup.manifest import Manifest, Proof, Source
from django_cfg.backup.policy.health import disproof, is_overdue, last_proof, size_warning
from django_cfg.backup.policy.retention import is_from_the_future
from django_cfg.backup.policy.schedule import latest_slot, next_slot
from django_cfg.backup.records import Moment, Record
from django_cfg.backup.services.catalog.catalog import Catalog, Damaged, damaged_of, describe_damage
from django_cfg.backup.services.copies.missing import find_missing
from django_cfg.backup.services.monitoring.incidents import Incident
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.places import Place
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.restore.kept_data import KeptData, Unreachable, list_kept_data
from django_cfg.backup.services.verification.proofs import can_be_drilled, can_be_opened_here, proof_is_old


class SourceStatus(Record):
    """How one source is doing. It is healthy when it has no problems."""

    project: str
    env: str
    database: str
    healthy: bool
    overdue: bool
    proof_overdue: bool = False  # a drill is
    problems: tuple[str, ...]
    last_success: Moment | None  # start of the newest backup that is not from the future
    last_backup: str | None  # its name
    age_seconds: int | None
    size: int | None  # bytes of its archive as stored
    next_slot: Moment | None  # in the past: the next tick makes that backup; None: no schedule backs it up
    last_proof: Proof | None  # the last drill
    provable_here: bool  # False: it opens with a private key that is elsewhere, or is of a kind that is not drilled
    damaged: tuple[Damaged, ...]  # pairs that are no longer backups

    @property
    def source(self) -> Source:
        return Source(project=self.project, env=self.env, database=self.database)

    @property
    def age(self) -> timedelta | None:
        return None if self.age_seconds is None else timedelta(seconds=self.age_seconds)


class PlaceStatus(Record):
    """How one place is doing. It is healthy when it has no problem, or is not required."""

    name: str
    location: str
    required: bool
    healthy: bool
    reachable: bool
    backups: int | None  # intact ones of this project and environment; None: it cannot be read
    size: int | None  # bytes of their archives
    newest: Moment | None  # start of the newest of them
    missing: tuple[str, ...] = ()  # names of backups that are to be copied there
    damaged: tuple[Damaged, ...] = ()  # that are intact elsewhere
    problem: str = ""


class StatusReport(Record):
    """How a project's backups are doing, and the old data that restores have kept."""

    healthy: bool
    sources: tuple[SourceStatus, ...]
    places: tuple[PlaceStatus, ...] = ()  # empty where there is one place
    old_data: tuple[KeptData, ...]
    old_data_unknown: tuple[str, ...]  # aliases of databases that could not be asked
    unreachable: tuple[Unreachable, ...] = ()

    @property
    def problems(self) -> list[str]:
        """All problems in words, each with its source."""
        found = [f"{status.source}: {problem}." for status in self.sources for problem in status.problems]
        found += [f"{place.name}: {place.problem}" for place in self.places if not place.healthy]
        sources = {status.database for status in self.sources}
        others = [kept for kept in self.old_data if kept.problem and kept.database not in sources]
        return found + [f"{kept.database}: {kept.problem}." for kept in others]


def read_status(project: Project, catalog: Catalog, patience: float | None = None) -> StatusReport:
    """Return how all sources of the project are doing.

    :param patience: seconds in which the databases have to say what old data they keep; None: as `backup_status` waits.
    """
    found = list(list_kept_data(project, patience))
    kept = tuple(one for one in found if isinstance(one, KeptData))
    unfinished = {one.database: one.problem for one in kept if one.problem}
    sources = tuple(
        _source_status(project, catalog, project.source(alias), unfinished.get(alias, ""))
        for alias in project.aliases()
    )
    unreachable = tuple(one for one in found if isinstance(one, Unreachable))
    places = tuple(_place_status(project, place, catalog) for place in project.places if catalog.copies or catalog.away)
    return StatusReport(
        healthy=not any(status.problems for status in sources)
        and not any(one.problem for one in kept)
        and all(place.healthy for place in places),
        sources=sources,
        places=places,
        old_data=kept,
        old_data_unknown=tuple(one.database for one in unreachable),
        unreachable=unreachable,
    )


def _place_status(project: Project, place: Place, catalog: Catalog) -> PlaceStatus:
    in_place = catalog.by_place.get(place.name)
    backups = in_place.of(project) if in_place else []
    missing = tuple(manifest.name for manifest in find_missing(project, catalog).get(place, ()))
    damaged = catalog.damaged_copies.get(place.name, ())
    problem = _describe_place(catalog.away.get(place.name), missing, damaged)
    return PlaceStatus(
        name=place.name,
        location=place.storage.location,
        required=place.required,
        healthy=not problem or not place.required,
        reachable=in_place is not None,
        backups=len(backups) if in_place else None,
        size=sum(manifest.size for manifest in backups) if in_place else None,
        newest=backups[0].started_at if backups else None,
        missing=missing,
        damaged=damaged,
        problem=problem,
    )


def _describe_place(error: BackupError | None, missing: Sequence[str], damaged: Sequence[Damaged]) -> str:
    found = [f"it cannot be read. {error}"] if error else []
    if missing:
        found.append(
            f"{counted(len(missing), 'backup')} missing there ({missing[0]}{', ...' if len(missing) > 1 else ''}): the "
            "next tick copies what it can, and `backup_copy --missing` says what keeps it."
        )
    return " ".join((*found, *([describe_damage(damaged)] if damaged else [])))


def _source_status(project: Project, catalog: Catalog, source: Source, unfinished: str) -> SourceStatus:
    now = clock.now()
    of_source = [manifest for manifest in catalog.backups if manifest.source == source]
    backups = [backup for backup in of_source if not is_from_the_future(backup, now)]
    future = [backup for backup in of_source if is_from_the_future(backup, now)]
    last = backups[0] if backups else None
    schedule = project.config.schedule_for(source.database)
    overdue = schedule is not None and is_overdue(schedule, project.zone, backups, now)
    damaged = tuple(damaged_of(project, catalog, source.database))
    old_proof = proof_is_old(project, backups, catalog, now)
    problems = (
        unfinished,
        _lateness(last) if overdue else "",
        _skew(future),
        _distrust(catalog, of_source),
        size_warning(backups),
        _unpruned(project, source),
        _disproved(disproof(backups, catalog.proofs)),
        describe_damage(damaged).rstrip("."),
        old_proof,
    )
    return SourceStatus(
        **source.model_dump(),
        healthy=not any(problems),
        overdue=overdue,
        proof_overdue=bool(old_proof),
        problems=tuple(filter(None, problems)),
        last_success=last.started_at if last else None,
        last_backup=last.name if last else None,
        age_seconds=int((now - last.started_at).total_seconds()) if last else None,
        size=last.size if last else None,
        next_slot=_find_next_slot(schedule, project.zone, backups) if schedule else None,
        last_proof=last_proof(backups, catalog.proofs),
        provable_here=last is None or (can_be_drilled(last) and can_be_opened_here(last)),
        damaged=damaged,
    )


def _find_next_slot(schedule: BackupScheduleConfig, zone: tzinfo, backups: list[Manifest]) -> datetime:
    """Return the slot that the next scheduled backup serves: before the first one that is the latest, which has passed.

    Backups by hand serve no slot.
    """
    now, last = clock.now(), backups[0].started_at if backups else None
    due = latest_slot(schedule, zone, now, last)
    if due and not any(backup.slot for backup in backups):
        return due
    return next_slot(schedule, zone, now, last)


def _lateness(last: Manifest | None) -> str:
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


def _distrust(catalog: Catalog, backups: list[Manifest]) -> str:
    found = [f"{backup.name} ({why})" for backup in backups if (why := catalog.distrust(backup))]
    if not found:
        return ""
    return (
        f"not signed with signing_key: {listed(found, 3)}: unless they were made before it was set, find out "
        "who can write to the storage; `backup_delete` removes them"
    )


def _unpruned(project: Project, source: Source) -> str:
    """By the incident's mark: what is locked is due as well, and is no problem."""
    try:
        message = Incident(project, "prune", source.database).message()
    except StorageError:
        return ""  # the place that keeps the marks is away, which is a problem of its own
    return f"old backups were not pruned as the retention says: {message}" if message else ""


def _disproved(proof: Proof | None) -> str:
    if proof is None:
        return ""
    return f"the drill of {proof.name} failed: {'; '.join(proof.differences).rstrip('.') or 'it could not be restored'}"
