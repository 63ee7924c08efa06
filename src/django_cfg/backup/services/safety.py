"""A backup of what a restore would destroy, where the restore itself cannot set it aside."""

from __future__ import annotations

from django_cfg.backup.engines.base import Engine, Outlook, RestoreOptions
from django_cfg.backup.errors import BackupError, RestoreRefused
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.create import create_backup
from django_cfg.backup.services.progress import Progress


def is_wanted(engine: Engine, outlook: Outlook, options: RestoreOptions) -> bool:
    """Whether the old data would be lost, and nobody has said that it may."""
    return not outlook.keeps_old_data and not options.discard_old and not engine.is_empty()


def back_up_first(alias: str, restored: Manifest, progress: Progress) -> Manifest:
    """Back up the database *alias* before *restored* replaces it.

    :raises RestoreRefused: it failed; the database is as it was.
    """
    try:
        return create_backup(alias, trigger="before-restore", note=f"before {restored.name}", progress=progress)
    except BackupError as error:
        raise RestoreRefused(
            f"The present data of {alias!r} would be replaced in place, and the backup of it that is made first "
            f"failed: {error} To restore without it, and lose that data, give --discard-old."
        ) from error
