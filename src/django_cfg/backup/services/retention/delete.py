"""Deleting one backup, in the order that never leaves a listed backup without its archive."""

from __future__ import annotations

from collections.abc import Iterable

from django_cfg.backup import signals
from django_cfg.backup.manifest import PIN_SUFFIX, SUFFIX, Manifest, proof_key
from django_cfg.backup.models import BackupRun
from django_cfg.backup.services.catalog.catalog import Catalog, Damaged, proof_numbers
from django_cfg.backup.storage.base import Storage


def delete_chosen(storage: Storage, chosen: Manifest | Damaged) -> None:
    """Delete what somebody has chosen, and tell of it."""
    delete_backup(storage, chosen.name, chosen.archive_key)
    manifest = chosen.manifest if isinstance(chosen, Damaged) else chosen
    signals.tell(signals.backup_deleted, BackupRun, name=chosen.name, manifest=manifest)


def delete_backup(storage: Storage, name: str, archive_key: str | None, *, beside: Iterable[str] | None = None) -> None:
    """Delete the manifest of *name*, so that it is no backup any more; what stands beside it; its archive.

    :param archive_key: None when the manifest that would tell it cannot be read.
    :param beside: the keys of what stands beside it; None: it is looked for.
    """
    storage.delete(f"{name}{SUFFIX}")
    for key in _beside(storage, name) if beside is None else beside:
        storage.delete(key)
    if archive_key is not None:
        storage.delete(archive_key)


def _beside(storage: Storage, name: str) -> list[str]:
    numbers = proof_numbers({found.key for found in storage.list()}).get(name, (1,))
    return [f"{name}{PIN_SUFFIX}", *(proof_key(name, number) for number in numbers)]


def find_damaged(catalog: Catalog, name: str) -> Damaged | None:
    """The damaged pair of exactly this *name*: only by it may one be deleted unread."""
    return next((damaged for damaged in catalog.damaged if damaged.name == name), None)
