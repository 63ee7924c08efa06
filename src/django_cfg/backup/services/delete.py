"""Deleting one backup, in the order that never leaves a listed backup without its archive."""

from __future__ import annotations

from django_cfg.backup.manifest import SUFFIX
from django_cfg.backup.services.catalog import BESIDE, Catalog
from django_cfg.backup.storage.base import Storage


def delete_backup(storage: Storage, name: str, archive_key: str | None) -> None:
    """Delete the manifest of *name*, so that it is no backup any more; what stands beside it; its archive.

    :param archive_key: None when the manifest that would tell it cannot be read.
    """
    storage.delete(f"{name}{SUFFIX}")
    for suffix in BESIDE:
        storage.delete(f"{name}{suffix}")
    if archive_key is not None:
        storage.delete(archive_key)


def damaged_name(catalog: Catalog, name: str) -> str | None:
    """*name* when it is exactly that of a damaged pair: only then may it be deleted unread."""
    return next((damaged.name for damaged in catalog.damaged if damaged.name == name), None)
