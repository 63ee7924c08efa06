"""Pinning: a backup that nothing deletes until it is unpinned."""

from __future__ import annotations

from django_cfg.backup import signals
from django_cfg.backup.errors import BackupNotFound
from django_cfg.backup.manifest import PIN_SUFFIX, Manifest, Pin
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.actor import current_actor
from django_cfg.backup.storage.base import Storage


def pin_backup(storage: Storage, manifest: Manifest, why: str = "") -> None:
    """Pin the backup; its first pin is kept when it has one.

    :raises BackupNotFound: something deleted the backup before the pin was there.
    """
    key = f"{manifest.name}{PIN_SUFFIX}"
    is_new = storage.stat(key) is None
    if is_new:
        storage.write(key, Pin(by=current_actor(), at=clock.now(), why=why).to_json())
    if storage.stat(manifest.key) is None:
        storage.delete(key)
        raise BackupNotFound(f"{manifest.name} was deleted in this moment: it is not pinned. Choose another backup.")
    if is_new:
        signals.send(signals.backup_pinned, manifest=manifest, why=why)


def unpin_backup(storage: Storage, manifest: Manifest) -> None:
    storage.delete(f"{manifest.name}{PIN_SUFFIX}")
    signals.send(signals.backup_unpinned, manifest=manifest)
