"""Pruning: decide by the rules of :mod:`django_cfg.backup.policy.retention`, then delete, many at a time.

What is deleted was due when it was decided, and is looked at once more in the moment of its deletion:
one that was pinned or proved since then stays. Each backup goes by itself, manifest first, so that
wherever this stops, what is listed is whole, and what is left is due again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from django_cfg.backup import signals
from django_cfg.backup.errors import BackupError, ObjectLocked, StorageError
from django_cfg.backup.formatting import counted, megabytes
from django_cfg.backup.manifest import PIN_SUFFIX, Manifest, Proof, Source, proof_key
from django_cfg.backup.models import BackupRun
from django_cfg.backup.policy.retention import Beside, Plan, Scope, plan
from django_cfg.backup.services.catalog.catalog import Catalog, proof_numbers, read_catalog
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.progress import SILENT, Progress
from django_cfg.backup.services.project.project import Project, current_project
from django_cfg.backup.services.retention.delete import delete_backup
from django_cfg.backup.storage.base import Storage, StoredObject

UNFINISHED_FOR = timedelta(hours=24)  # nobody has written to it for so long: its run is dead
_AT_ONCE = 32  # deletions; most of each is waiting for the storage
_log = logging.getLogger("django_cfg.backup")


@dataclass(frozen=True)
class PrunePlan:
    """What a prune would do; nothing has been touched."""

    storage: Storage
    catalog: Catalog
    retention: Plan
    abandoned: tuple[StoredObject, ...] = ()  # unfinished files of runs that are dead

    @property
    def size(self) -> int:
        """Bytes of the archives that are due."""
        return sum(manifest.archive.size for manifest in self.retention.due)


@dataclass(frozen=True)
class Outcome:
    """What became of one backup that was due: deleted, unless one of these says otherwise."""

    manifest: Manifest
    kept: str = ""  # why
    error: StorageError | None = None


@dataclass(frozen=True)
class Pruned:
    """A plan, and what became of it."""

    plan: PrunePlan
    outcomes: tuple[Outcome, ...] = ()
    swept: tuple[str, ...] = ()  # keys of unfinished files that were removed

    @property
    def deleted(self) -> list[Manifest]:
        return [outcome.manifest for outcome in self.outcomes if not outcome.kept and not outcome.error]

    @property
    def kept(self) -> list[Outcome]:
        """Those that were due and stay: locked, or pinned or proved in the meantime."""
        return [outcome for outcome in self.outcomes if outcome.kept]

    @property
    def failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.error]

    @property
    def freed(self) -> int:
        return sum(manifest.archive.size for manifest in self.deleted)

    def require_complete(self) -> None:
        """
        :raises StorageError: some could not be deleted.
        """
        if failed := self.failed:
            told = "\n".join(f"{outcome.manifest.name}: {outcome.error}" for outcome in failed[:5])
            more = f"\nand {len(failed) - 5} more" if len(failed) > 5 else ""
            raise StorageError(
                f"{len(failed)} of {counted(len(self.outcomes), 'backup')} could not be deleted; the next prune tries "
                "again, and `backup_prune --leftovers` removes an archive that has lost its manifest:\n"
                f"{told}{more}"
            )


def prune_backups(*, dry_run: bool = False, orphans: bool = False, progress: Progress = SILENT) -> Pruned:
    """Delete, without asking, what the retention of ``settings.BACKUP`` does not keep.

    :param dry_run: only decide.
    :param orphans: the rules are also for backups of databases that are not in DATABASES any more.
    :raises ClockSkew: a backup is dated in the future; nothing was deleted.
    :raises StorageError: some could not be deleted; the others are.
    """
    due = plan_prune(orphans=orphans)
    if dry_run:
        return Pruned(due)
    pruned = carry_out(due, progress)
    pruned.require_complete()
    return pruned


def plan_prune(*, orphans: bool = False) -> PrunePlan:
    """Decide on everything; nothing is touched.

    :raises ClockSkew: a backup is dated in the future.
    """
    return _planned(current_project(), orphans=orphans)


def decide(project: Project, catalog: Catalog, *, orphans: bool = False, only: str | None = None) -> Plan:
    """What keeps each backup of *catalog*.

    :raises ClockSkew: a backup is dated in the future.
    """
    return plan(
        catalog.backups,
        Beside(catalog.proofs, catalog.pinned, catalog.unreadable_proofs),
        project.config.retention,
        clock.now(),
        project.zone,
        Scope(project.name, project.env, frozenset(project.databases), orphans, only),
    )


def still_due(shown: PrunePlan, now: PrunePlan) -> PrunePlan:
    """Of what was *shown* only what is still due *now*: answering takes a person a while."""
    agreed = {manifest.name for manifest in shown.retention.due}
    decisions = tuple(d for d in now.retention.decisions if d.keep or d.manifest.name in agreed)
    return replace(now, retention=replace(now.retention, decisions=decisions))


def carry_out(due: PrunePlan, progress: Progress = SILENT, *, source: Source | None = None) -> Pruned:
    """Delete what is due, the oldest first. What fails is told beside the others and stays due.

    :param source: whose backup this follows; None: by hand.
    """
    oldest_first = due.retention.due[::-1]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="prune") as threads:
        outcomes = tuple(threads.map(lambda manifest: _delete(due, manifest), oldest_first))
    pruned = Pruned(due, outcomes, _sweep(due.storage, due.abandoned))
    for manifest in pruned.deleted:
        signals.tell(signals.backup_deleted, BackupRun, name=manifest.name, manifest=manifest)
    if not pruned.failed and not (source and due.retention.warnings):
        facts = {"source": source, "deleted": pruned.deleted, "freed": pruned.freed}
        signals.tell(signals.prune_succeeded, BackupRun, **facts)
    if outcomes:
        progress.say(f"{counted(len(pruned.deleted), 'old backup')} deleted, {megabytes(pruned.freed)}")
    return pruned


def prune_after_backup(project: Project, manifest: Manifest, progress: Progress = SILENT) -> None:
    """The prune that follows the backup *manifest*. It failing is told, and does not make the backup fail."""
    if not project.config.retention.enabled or manifest.trigger == "before-restore":
        return  # the backup that is about to be restored may be the oldest one
    try:
        _prune_after(project, manifest, progress)
    except BackupError as error:
        _tell_failure(manifest, str(error))
    except Exception as error:  # noqa: BLE001  the backup is made, and whoever asked for it shall get it
        _log.exception("The prune after the backup %s failed in a way nobody has foreseen", manifest.name)
        _tell_failure(manifest, repr(error))


def _prune_after(project: Project, manifest: Manifest, progress: Progress) -> None:
    due = _planned(project, only=manifest.source.database)
    if manifest not in due.catalog.backups:
        raise StorageError(
            f"{manifest.name} has just been stored in {due.storage.location}, and is not found there whole. "
            "Nothing is pruned on top of that: run `backup_list` and `backup_verify`."
        )
    pruned = carry_out(due, progress, source=manifest.source)
    for outcome in pruned.kept:
        _log.info("%s was due for deletion and stays: %s", outcome.manifest.name, outcome.kept)
    pruned.require_complete()
    if warnings := due.retention.warnings:
        _tell_failure(manifest, " ".join(warnings))


def _tell_failure(manifest: Manifest, message: str) -> None:
    _log.warning("The backup %s is made; pruning old ones failed: %s", manifest.name, message)
    signals.tell(signals.prune_failed, BackupRun, source=manifest.source, message=message)


def _planned(project: Project, *, orphans: bool = False, only: str | None = None) -> PrunePlan:
    storage = project.storage
    catalog = read_catalog(storage)
    retention = decide(project, catalog, orphans=orphans, only=only)
    return PrunePlan(storage, catalog, retention, tuple(storage.abandoned(datetime.now(UTC) - UNFINISHED_FOR)))


def _delete(due: PrunePlan, manifest: Manifest) -> Outcome:
    """Look at it once more, and delete it. No request is made in vain: there may be a thousand of them."""
    storage = due.storage
    try:
        if storage.stat(f"{manifest.name}{PIN_SUFFIX}"):
            return Outcome(manifest, kept="pinned meanwhile")
        proofs = _proofs(due, manifest)
        if proofs and not due.catalog.is_proved(manifest) and _may_be_proved(storage, manifest, proofs[-1]):
            return Outcome(manifest, kept="proved meanwhile")
        return Outcome(manifest, kept=_refusal(storage, manifest, proofs))
    except StorageError as error:
        return Outcome(manifest, error=error)


def _proofs(due: PrunePlan, manifest: Manifest) -> list[str]:
    """The keys of its proofs as they are now, the last one last."""
    name, storage = manifest.name, due.storage
    known = due.catalog.proof_numbers.get(name, ())
    if not known or (known == (1,) and storage.stat(proof_key(name, 2)) is None):
        return [proof_key(name)] if storage.stat(proof_key(name)) else []
    numbers = proof_numbers({found.key for found in storage.list()}).get(name, ())
    return [proof_key(name, number) for number in numbers]


def _may_be_proved(storage: Storage, manifest: Manifest, key: str) -> bool:
    try:
        return Proof.from_json(storage.read(key), key).proves(manifest)
    except BackupError:
        return True  # nobody knows what it says


def _refusal(storage: Storage, manifest: Manifest, beside: Sequence[str]) -> str:
    """Delete it; why the storage does not let it go, and empty when it is gone."""
    try:
        delete_backup(storage, manifest.name, manifest.archive_key, beside=beside)
    except ObjectLocked:
        if storage.stat(manifest.key) is None:
            raise  # what is left is no backup any more
        return "locked"
    return ""


def _sweep(storage: Storage, abandoned: Sequence[StoredObject]) -> tuple[str, ...]:
    """Remove what dead runs have left; what another user owns stays, and is told."""
    swept = []
    for found in abandoned:
        try:
            storage.delete(found.key)
            swept.append(found.key)
        except StorageError as error:
            _log.warning("What an interrupted run left stays: %s", error)
    return tuple(swept)
