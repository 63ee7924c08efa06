"""Pruning: decide by the rules of :mod:`django_cfg.backup.policy.retention`, then delete, many at a time.

A backup that is deleted was due when that was decided, and is looked at once more when it is deleted: one that was
pinned or proved since then stays. Each backup is deleted on its own, manifest first, so that wherever this stops, every
listed backup is intact, and what is left is due again.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta

from django_cfg.backup import signals
from django_cfg.backup.config.backup import MAIN_PLACE
from django_cfg.backup.errors import BackupError, ObjectLocked, StorageError
from django_cfg.backup.formatting import counted, megabytes
from django_cfg.backup.manifest import PIN_SUFFIX, Manifest, Proof, Signature, Source
from django_cfg.backup.policy.retention import Decision, Plan, Scope, Sidecars, plan
from django_cfg.backup.records import ErrorText, Record
from django_cfg.backup.services.catalog.catalog import Catalog, proof_keys
from django_cfg.backup.services.catalog.places import read_places
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.places import Place
from django_cfg.backup.services.project.progress import SILENT, Progress
from django_cfg.backup.services.project.project import Project, current_project
from django_cfg.backup.services.project.subject import public
from django_cfg.backup.services.retention.delete import delete_backup
from django_cfg.backup.storage.base import Storage, StoredObject

UNFINISHED_FOR = timedelta(hours=24)  # an unfinished file not written to for so long is of a dead run
_AT_ONCE = 32  # deletions; most of each is waiting for the storage
_log = logging.getLogger("django_cfg.backup")


@dataclass(frozen=True)
class PrunePlan:
    """What a prune would do; nothing has been touched."""

    project: Project
    place: Place
    catalog: Catalog  # of the place; its proofs and pins are those of all places
    retention: Plan
    abandoned: tuple[StoredObject, ...] = ()  # unfinished files of runs that are dead

    @property
    def storage(self) -> Storage:
        return self.place.storage

    @property
    def size(self) -> int:
        """Bytes of the archives that are due."""
        return sum(manifest.size for manifest in self.retention.due)

    @property
    def decisions(self) -> list[Decision]:
        """The decisions on the backups of this project and environment, newest first."""
        return [decision for decision in self.retention.decisions if self.project.owns(decision.source)]

    @property
    def superseded(self) -> list[str]:
        """The keys of proofs that a later proof of the same backup has made obsolete."""
        own = {decision.name for decision in self.decisions if decision.keep}
        return [key for name in sorted(own) for key in self.catalog.proof_keys.get(name, ())[:-1]]


class KeptOutcome(Record):
    """A backup that was due and stays, and why: it is locked, or was pinned or proved in the meantime."""

    name: str
    why: str


class FailedOutcome(Record):
    """A backup that could not be deleted, and why."""

    name: str
    error: ErrorText


class PruneReport(Record):
    """What a prune has decided and done in one place."""

    place: str = MAIN_PLACE
    decisions: tuple[Decision, ...]
    warnings: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()  # names
    freed: int = 0  # bytes
    kept: tuple[KeptOutcome, ...] = ()
    failed: tuple[FailedOutcome, ...] = ()
    swept: tuple[str, ...] = ()  # keys of unfinished files and superseded proofs that were removed
    copies: tuple[PruneReport, ...] = ()  # the reports of the other places

    @property
    def due(self) -> int:
        """The number of backups that were due."""
        return len(self.deleted) + len(self.kept) + len(self.failed)

    def require_complete(self) -> None:
        """
        :raises StorageError: some could not be deleted.
        """
        if failed := self.failed:
            lines = [f"{outcome.name}: {outcome.error}" for outcome in failed[:5]]
            more = [f"and {len(failed) - 5} more"] if len(failed) > 5 else []
            raise StorageError(
                f"{len(failed)} of {counted(self.due, 'backup')} could not be deleted; the next prune tries again, and "
                f"`backup_prune --leftovers` removes an archive that has lost its manifest:",
                *lines,
                *more,
            )


@public
def prune_backups(*, dry_run: bool = False, orphans: bool = False, progress: Progress = SILENT) -> PruneReport:
    """Delete, without asking, what the retention of ``settings.BACKUP`` does not keep.

    :param dry_run: only decide.
    :param orphans: apply the rules to backups of databases that are no longer in DATABASES, too.
    :param progress: is called while it goes on.
    :returns: the decision on each backup, and what was deleted; of further places in ``copies``.
    :raises ClockSkew: a backup is dated in the future; nothing was deleted.
    :raises StorageError: some could not be deleted; the others are.
    """
    plans = plan_prunes(orphans=orphans)
    if dry_run:
        return report_of_all([preview_report(due) for due in plans])
    report = report_of_all([execute_prune(due, progress) for due in plans])
    for each in (report, *report.copies):
        each.require_complete()
    require_all_pruned(plans)
    return report


def plan_prunes(*, orphans: bool = False) -> list[PrunePlan]:
    """Decide on everything in every place; nothing is touched.

    Places that are away are left out; see :func:`require_all_pruned`.

    :raises ClockSkew: a backup is dated in the future.
    """
    project = current_project()
    catalog = read_places(project)
    return [
        _planned(project, place, catalog, orphans=orphans) for place in project.places if place.name not in catalog.away
    ]


def plan_prune() -> PrunePlan:
    """Like :func:`plan_prunes` in ``main`` alone, whose decisions the admin shows.

    :raises StorageError: it is away.
    """
    project = current_project()
    return _planned(project, project.places[0], read_places(project))


def require_all_pruned(plans: Sequence[PrunePlan]) -> None:
    """
    :raises StorageError: a place is away, and was not pruned.
    """
    places, pruned = plans[0].project.places, {due.place.name for due in plans}
    if away := [str(place) for place in places if place.name not in pruned]:
        raise StorageError(f"Nothing was pruned in {', '.join(away)}, which cannot be read: run `backup_status`.")


def report_of_all(reports: Sequence[PruneReport]) -> PruneReport:
    """Return the report of the first place, which holds those of the others."""
    first, *others = reports
    return first.model_copy(update={"copies": tuple(others)})


def decide_everywhere(project: Project, catalog: Catalog) -> dict[str, Decision]:
    """Return by name what keeps each backup: by the rules of the first place that keeps it, or has it.

    :raises ClockSkew: a backup is dated in the future.
    """
    found: dict[str, Decision] = {}
    for place in project.places:
        in_place = of_place(catalog, place)
        if in_place is None:
            continue
        for decision in decide_retention(project, in_place, place).decisions:
            known = found.get(decision.name)
            if known is None or (decision.keep and not known.keep):
                found[decision.name] = decision
    return found


def of_place(catalog: Catalog, place: Place) -> Catalog | None:
    """Return what *place* holds, with the proofs and pins of all places; None: it could not be read."""
    if not catalog.by_place:
        return catalog if catalog.location == place.storage.location else None
    found = catalog.by_place.get(place.name)
    if found is None:
        return None
    unreadable = catalog.unreadable_proofs | found.unreadable_proofs
    return replace(found, proofs=catalog.proofs, pinned=catalog.pinned, unreadable_proofs=unreadable)


def decide_retention(
    project: Project, catalog: Catalog, place: Place, *, orphans: bool = False, only: str | None = None
) -> Plan:
    """Return what keeps each backup of *catalog* by the retention of *place*.

    :raises ClockSkew: a backup is dated in the future.
    """
    distrusted = list_distrusted(catalog)
    decided = plan(
        [manifest for manifest in catalog.backups if manifest.name not in distrusted],
        Sidecars(catalog.proofs, catalog.pinned, catalog.unreadable_proofs),
        place.retention,
        clock.now(),
        project.zone,
        Scope(project.name, project.env, frozenset(project.databases), orphans, only),
    )
    left_alone = [
        Decision.on(manifest, (f"{catalog.distrust(manifest)}: it counts for nothing",), keep=True)
        for manifest in catalog.backups
        if manifest.name in distrusted
    ]
    in_order = sorted(
        (*decided.decisions, *left_alone), key=lambda decision: (decision.started_at, decision.name), reverse=True
    )
    return replace(decided, decisions=tuple(in_order))


def list_distrusted(catalog: Catalog) -> set[str]:
    """The names of backups that may not displace others: a bad signature, or none where older ones are signed.

    Unsigned backups that are older than all signed ones of their source were made before the key was set.
    """
    distrusted = set()
    is_signed: dict[Source, bool] = {}
    for manifest in reversed(catalog.backups):
        signature = catalog.signatures.get(manifest.name)
        was_signed = signature is Signature.GOOD and manifest.adopted is None  # else it is older than its signature
        is_signed[manifest.source] = is_signed.get(manifest.source, False) or was_signed
        if signature is Signature.BAD or (signature is Signature.NONE and is_signed[manifest.source]):
            distrusted.add(manifest.name)
    return distrusted


def preview_report(due: PrunePlan) -> PruneReport:
    """Return the report of a prune that only decides."""
    return PruneReport(place=due.place.name, decisions=tuple(due.decisions), warnings=due.retention.warnings)


def still_due(agreed: Collection[str], now: PrunePlan) -> PrunePlan:
    """Return of *now* only what a person has *agreed* to, by name: an answer takes a while."""
    decisions = tuple(d for d in now.retention.decisions if d.keep or d.name in agreed)
    return replace(now, retention=replace(now.retention, decisions=decisions))


def execute_prune(due: PrunePlan, progress: Progress = SILENT, *, source: Source | None = None) -> PruneReport:
    """Delete what is due, the oldest first. A deletion that fails is reported with the others and stays due.

    :param source: whose backup this follows; None: by hand.
    """
    oldest_first = due.retention.due[::-1]
    proofs = proof_keys(found.key for found in due.storage.list()) if oldest_first else {}
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="prune") as threads:
        outcomes = list(threads.map(lambda found: _delete(due, found, proofs.get(found.name, ())), oldest_first))
    deleted = [manifest for manifest, outcome in zip(oldest_first, outcomes, strict=True) if outcome is None]
    report = PruneReport(
        place=due.place.name,
        decisions=tuple(due.decisions),
        warnings=due.retention.warnings,
        deleted=tuple(manifest.name for manifest in deleted),
        freed=sum(manifest.size for manifest in deleted),
        kept=tuple(outcome for outcome in outcomes if isinstance(outcome, KeptOutcome)),
        failed=tuple(outcome for outcome in outcomes if isinstance(outcome, FailedOutcome)),
        swept=_sweep(due),
    )
    for manifest in deleted:
        signals.send(signals.backup_deleted, name=manifest.name, manifest=manifest)
    if not report.failed and not (source and report.warnings):
        signals.send(signals.prune_succeeded, source=source, deleted=deleted, freed=report.freed)
    if outcomes:
        progress.say(f"{counted(len(deleted), 'old backup')} deleted, {megabytes(report.freed)}")
    return report


def prune_after_backup(
    project: Project,
    manifest: Manifest,
    catalog: Catalog | None,
    progress: Progress = SILENT,
    *,
    without: Collection[str] = (),
) -> None:
    """Prune after the backup *manifest*. A failure is logged and signalled, and does not make the backup fail.

    :param catalog: as read after the backup was made; None: it could not be read.
    :param without: the places that have not got this backup.
    """
    if manifest.trigger == "before-restore":
        return  # the backup that is about to be restored may be the oldest one
    for place in project.places:
        if place.retention.enabled and place.name not in without:
            _prune_place_after(project, place, manifest, catalog, progress)


def _prune_place_after(
    project: Project, place: Place, manifest: Manifest, catalog: Catalog | None, progress: Progress
) -> None:
    try:
        catalog = catalog or read_places(project)
        _prune_after(project, place, manifest, catalog, progress)
    except BackupError as error:
        _report_failure(manifest, str(error))
    except Exception as error:  # noqa: BLE001  the backup is made, and its caller shall get it
        _log.exception("The prune after the backup %s failed unexpectedly", manifest.name)
        _report_failure(manifest, repr(error))


def _prune_after(project: Project, place: Place, manifest: Manifest, catalog: Catalog, progress: Progress) -> None:
    due = _planned(project, place, catalog, only=manifest.source.database)
    if manifest not in due.catalog.backups:
        raise StorageError(
            f"{manifest.name} has just been stored in {due.storage.location}, and is not found there intact. "
            "Nothing is pruned on top of that: run `backup_list` and `backup_verify`."
        )
    report = execute_prune(due, progress, source=manifest.source)
    for outcome in report.kept:
        _log.info("%s was due for deletion and stays: %s", outcome.name, outcome.why)
    report.require_complete()
    if report.warnings:
        _report_failure(manifest, " ".join(report.warnings))


def _report_failure(manifest: Manifest, message: str) -> None:
    _log.warning("The backup %s is made; pruning old ones failed: %s", manifest.name, message)
    signals.send(signals.prune_failed, source=manifest.source, message=message)


def _planned(
    project: Project, place: Place, catalog: Catalog, *, orphans: bool = False, only: str | None = None
) -> PrunePlan:
    in_place = of_place(catalog, place)
    if in_place is None:
        raise catalog.away[place.name]
    retention = decide_retention(project, in_place, place, orphans=orphans, only=only)
    abandoned = tuple(place.storage.abandoned(clock.now() - UNFINISHED_FOR))
    return PrunePlan(project, place, in_place, retention, abandoned)


def _delete(due: PrunePlan, manifest: Manifest, proofs: Sequence[str]) -> KeptOutcome | FailedOutcome | None:
    """Look at the backup once more, and delete it; None when it is gone. There may be a thousand: no needless request.

    :param proofs: the keys of its proofs as they are now, the last one last.
    """
    storage = due.storage
    try:
        if storage.stat(f"{manifest.name}{PIN_SUFFIX}"):
            return KeptOutcome(name=manifest.name, why="pinned in the meantime")
        if proofs and not due.catalog.is_proved(manifest) and _may_be_proved(storage, manifest, proofs[-1]):
            return KeptOutcome(name=manifest.name, why="proved in the meantime")
        return _delete_unless_locked(storage, manifest, proofs)
    except StorageError as error:
        return FailedOutcome(name=manifest.name, error=error)


def _may_be_proved(storage: Storage, manifest: Manifest, key: str) -> bool:
    try:
        return Proof.from_json(storage.read(key), key).proves(manifest)
    except BackupError:
        return True  # what it says is not known


def _delete_unless_locked(storage: Storage, manifest: Manifest, sidecars: Sequence[str]) -> KeptOutcome | None:
    try:
        delete_backup(storage, manifest.name, manifest.archive_keys, sidecars=sidecars)
    except ObjectLocked:
        if storage.stat(manifest.key) is None:
            raise  # what is left is no longer a backup
        return KeptOutcome(name=manifest.name, why="locked")
    return None


def _sweep(due: PrunePlan) -> tuple[str, ...]:
    """Remove what dead runs have left, and superseded proofs; what another user owns or the storage locks stays."""
    swept = []
    for key in (*(found.key for found in due.abandoned), *due.superseded):
        try:
            due.storage.delete(key)
            swept.append(key)
        except ObjectLocked as error:
            _log.info("%s stays: %s", key, error)
        except StorageError as error:
            _log.warning("%s stays: %s", key, error)
    return tuple(swept)
