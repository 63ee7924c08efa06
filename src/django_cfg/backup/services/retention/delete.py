"""Deleting one backup, in the order that never leaves a listed backup without its archive."""

from __future__ import annotations

from collections.abc import Iterable

from django_cfg.backup import signals
from django_cfg.backup.manifest import PIN_SUFFIX, SUFFIX, Manifest
from django_cfg.backup.services.catalog.catalog import Catalog, Damaged, proof_keys
from django_cfg.backup.storage.base import Storage


def delete_chosen(storage: Storage, chosen: Manifest | Damaged) -> None:
    """Delete a backup that somebody has chosen, and send the signal."""
    delete_backup(storage, chosen.name, chosen.archive_key)
    manifest = chosen.manifest if isinstance(chosen, Damaged) else chosen
    signals.send(signals.backup_deleted, name=chosen.name, manifest=manifest)


def delete_backup(
    storage: Storage, name: str, archive_key: str | None, *, sidecars: Iterable[str] | None = None
) -> None:
    """Delete the manifest of *name*, which ends the backup; then its sidecars; then its archive.

    :param archive_key: None when the manifest that would name it cannot be read.
    :param sidecars: the keys of its proofs and pin; None: they are looked for.
    """
    storage.delete(f"{name}{SUFFIX}")
    for key in _sidecars(storage, name) if sidecars is None else sidecars:
        storage.delete(key)
    if archive_key is not None:
        storage.delete(archive_key)


def _sidecars(storage: Storage, name: str) -> list[str]:
    return [f"{name}{PIN_SUFFIX}", *proof_keys(found.key for found in storage.list()).get(name, ())]


def find_damaged(catalog: Catalog, name: str) -> Damaged | None:
    """Return the damaged pair of exactly this *name*: only by its full name may one be deleted unread."""
    return next((damaged for damaged in catalog.damaged if damaged.name == name), None)
