"""Deleting one backup, in the order that never leaves a listed backup without its archive."""

from __future__ import annotations

from collections.abc import Iterable

from django_cfg.backup.manifest import SUFFIX
from django_cfg.backup.services.catalog import BESIDE, Catalog, Damaged
from django_cfg.backup.storage.base import Storage


def delete_backup(storage: Storage, name: str, archive_key: str | None, *, beside: Iterable[str] = BESIDE) -> None:
    """Delete the manifest of *name*, so that it is no backup any more; what stands beside it; its archive.

    :param archive_key: None when the manifest that would tell it cannot be read.
    :param beside: the suffixes of what may stand beside it.
    """
    storage.delete(f"{name}{SUFFIX}")
    for suffix in beside:
        storage.delete(f"{name}{suffix}")
    if archive_key is not None:
        storage.delete(archive_key)


def find_damaged(catalog: Catalog, name: str) -> Damaged | None:
    """The damaged pair of exactly this *name*: only by it may one be deleted unread."""
    return next((damaged for damaged in catalog.damaged if damaged.name == name), None)
