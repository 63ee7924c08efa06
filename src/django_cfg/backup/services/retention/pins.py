"""Pinning: a backup that nothing deletes until it is unpinned."""

from __future__ import annotations

from django_cfg.backup import signals
from django_cfg.backup.errors import BackupNotFound
from django_cfg.backup.manifest import PIN_SUFFIX, Manifest, Pin
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.actor import current_actor
from django_cfg.backup.services.project.places import Place, do_in_each, raise_failures
from django_cfg.backup.services.project.project import Project


def pin_backup(project: Project, manifest: Manifest, why: str = "") -> None:
    """Pin the backup in every place that has it; its first pin is kept when it has one.

    :raises BackupNotFound: something deleted the backup before the pin was there.
    :raises StorageError: a place is away; in the others it is pinned.
    """
    pin = Pin(by=current_actor(), at=clock.now(), why=why).to_json()
    results, failures = do_in_each(project.places, lambda place: _pin(place, manifest, pin))
    if True in results:
        signals.send(signals.backup_pinned, manifest=manifest, why=why)
    raise_failures(failures, project.places, f"{manifest.name} is not pinned")
    if not any(result is not None for result in results):
        raise BackupNotFound(f"{manifest.name} was deleted in this moment: it is not pinned. Choose another backup.")


def _pin(place: Place, manifest: Manifest, pin: bytes) -> bool | None:
    """Return whether the pin is new; None: the place has no such backup."""
    storage, key = place.storage, f"{manifest.name}{PIN_SUFFIX}"
    if storage.stat(manifest.key) is None:
        return None
    is_new = storage.stat(key) is None
    if is_new:
        storage.write(key, pin)
    if storage.stat(manifest.key) is None:
        storage.delete(key)
        return None
    return is_new


def unpin_backup(project: Project, manifest: Manifest) -> None:
    """
    :raises StorageError: a place is away; there it is pinned still.
    """
    key = f"{manifest.name}{PIN_SUFFIX}"
    _, failures = do_in_each(project.places, lambda place: place.storage.delete(key))
    raise_failures(failures, project.places, f"{manifest.name} is still pinned")
    signals.send(signals.backup_unpinned, manifest=manifest)
