"""Deleting one backup, in the order that never leaves a listed backup without its archive."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager

from django_cfg.backup import signals
from django_cfg.backup.errors import StorageError, UsageError
from django_cfg.backup.manifest import PIN_SUFFIX, SUFFIX, Manifest, Signature, Source
from django_cfg.backup.policy.retention import Sidecars, is_from_the_future, never_deleted
from django_cfg.backup.process.deferred_signals import defer_signals
from django_cfg.backup.services.catalog.catalog import (
    LATEST,
    Catalog,
    Damaged,
    find_backup,
    proof_keys,
    require_known_database,
)
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.runs.file_lock import copy_lock
from django_cfg.backup.storage.base import Storage


def choose_backup(catalog: Catalog, project: Project, name: str, database: str | None = None) -> Manifest | Damaged:
    """Return the backup to delete, or what is left of a damaged one. Those are deleted by their full name only, as are
    backups of another project, which a beginning may happen to match.

    :raises BackupNotFound: there is none.
    :raises UsageError: *name* is not the full name, or fits several; or there is no such database.
    """
    require_known_database(project, catalog, database)
    if damaged := find_damaged(catalog, name):
        return damaged
    manifest = find_backup(catalog, project, name, database)
    if not project.owns(manifest.source) and manifest.name != name and name != LATEST:
        raise UsageError(
            f"{manifest.name} is a backup of {manifest.source}, and this is {project.name}/{project.env}: "
            "to delete it from here, write its full name."
        )
    return manifest


def delete_chosen(project: Project, catalog: Catalog, chosen: Manifest | Damaged) -> None:
    """Delete a backup that somebody has chosen in every place, and send the signal.

    :param catalog: of all places.
    :raises AlreadyRunning: backups of its source are being copied, which could bring it back. Nothing is deleted.
    :raises StorageError: a place is away: a copy there would come back to the others. Nothing is deleted.
    """
    for name, error in catalog.away.items():
        raise StorageError(
            f"{chosen.name} is not deleted: {name} cannot be read, and a copy there would come back to the other "
            f"places. Try again when it answers. {error}"
        )
    manifest = chosen.manifest if isinstance(chosen, Damaged) else chosen
    with _copies_kept_out(project, manifest):
        for place in project.places:
            damaged = (each for each in catalog.damaged_copies.get(place.name, ()) if each.name == chosen.name)
            in_place = next(damaged, chosen)
            delete_backup(place.storage, chosen.name, {*in_place.archive_keys, *chosen.archive_keys})
    signals.send(signals.backup_deleted, name=chosen.name, manifest=manifest)


@contextmanager
def _copies_kept_out(project: Project, manifest: Manifest | None) -> Iterator[None]:
    """Make no copies of the source of *manifest* during the block: one under way would bring back what is deleted."""
    with defer_signals() as deferred, ExitStack() as locks:
        if manifest and len(project.places) > 1:
            for place in project.places:
                locks.enter_context(copy_lock(project, manifest.source, place))
        with deferred.allowed():
            yield


def protections(catalog: Catalog) -> dict[str, tuple[str, ...]]:
    """Return by name what is not deleted by hand, and as what: the newest, the newest proved, the pinned.

    What cannot be relied on protects nothing and is not protected: a backup from the future, or not signed as others
    of its source are.
    """
    now, series = clock.now(), defaultdict[tuple[Source, bool], list[Manifest]](list)
    for manifest in catalog.backups:
        if not is_from_the_future(manifest, now) and catalog.signatures.get(manifest.name) is not Signature.BAD:
            series[manifest.source, manifest.partial].append(manifest)
    found: dict[str, tuple[str, ...]] = dict.fromkeys(catalog.pinned, ("pinned",))
    sidecars = Sidecars(catalog.proofs)
    for backups in series.values():
        signed = [manifest for manifest in backups if catalog.signatures.get(manifest.name) is Signature.GOOD]
        for manifest, why in never_deleted(signed or backups, sidecars):
            found[manifest.name] = (*found.get(manifest.name, ()), why)
    return found


def protection(catalog: Catalog, chosen: Manifest) -> str:
    """Return why *chosen* is not deleted by hand, in words; empty if it may be."""
    found = protections(catalog).get(chosen.name, ())
    return ", ".join("it is pinned" if why == "pinned" else f"it is the {why} of {chosen.source}" for why in found)


def require_unprotected(catalog: Catalog, chosen: Manifest) -> None:
    """
    :raises UsageError: *chosen* is the newest backup of its source, the newest proved one, or pinned.
    """
    if why := protection(catalog, chosen):
        raise UsageError(
            f"{chosen.name} is not deleted: {why}. "
            + (f"`backup_pin {chosen.name} --unpin` takes the pin away. " if chosen.name in catalog.pinned else "")
            + "Make or prove a newer backup first; `backup_delete --force` deletes it in any case."
        )


def delete_backup(
    storage: Storage, name: str, archive_keys: Collection[str], *, sidecars: Iterable[str] | None = None
) -> None:
    """Delete the manifest of *name*, which ends the backup; then its sidecars; then its archives.

    :param archive_keys: none when the manifest that would name them cannot be read.
    :param sidecars: the keys of its proofs and pin; None: they are looked for.
    """
    storage.delete(f"{name}{SUFFIX}")
    for key in _sidecars(storage, name) if sidecars is None else sidecars:
        storage.delete(key)
    for key in archive_keys:
        storage.delete(key)


def _sidecars(storage: Storage, name: str) -> list[str]:
    return [f"{name}{PIN_SUFFIX}", *proof_keys(found.key for found in storage.list()).get(name, ())]


def find_damaged(catalog: Catalog, name: str) -> Damaged | None:
    """Return the damaged pair of exactly this *name*: only by its full name may one be deleted unread."""
    return next((damaged for damaged in catalog.damaged if damaged.name == name), None)
