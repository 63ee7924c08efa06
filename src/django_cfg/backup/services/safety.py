"""A backup of what a restore would destroy, where the restore itself cannot set it aside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from django_cfg.backup.config import BackupConfig
from django_cfg.backup.engines.base import Engine, Outlook, RestoreOptions
from django_cfg.backup.errors import BackupError, RestoreFailed, RestoreRefused
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.create import create_in
from django_cfg.backup.services.progress import Progress
from django_cfg.backup.services.project import Project


def is_wanted(engine: Engine, outlook: Outlook, options: RestoreOptions) -> bool:
    """Whether the old data would be lost, and nobody has said that it may."""
    return not outlook.keeps_old_data and not options.discard_old and not engine.is_empty()


def back_up_first(project: Project, alias: str, restored: Manifest, progress: Progress) -> Manifest:
    """Back up all of the database *alias*, whatever the settings leave out, before *restored* replaces it.

    :raises RestoreRefused: it failed; the database is as it was.
    """
    whole = replace(project, config=_without_selection(project.config, alias))
    try:
        return create_in(whole, alias, trigger="before-restore", note=f"before {restored.name}", progress=progress)
    except BackupError as error:
        raise RestoreRefused(
            f"The present data of {alias!r} would be replaced in place, and the backup of it that is made first "
            f"failed: {error} To restore without it, and lose that data, give --discard-old."
        ) from error


@contextmanager
def way_back(outlook: Outlook, before: Manifest | None, alias: str) -> Iterator[None]:
    """Name the backup *before* when the block fails and the database is neither old nor new.

    :raises RestoreFailed: instead of the block's error.
    """
    try:
        yield
    except BackupError as error:
        if outlook.leaves_whole or before is None:
            raise
        back = f"manage.py backup_restore {before.name} --to {alias}"
        raise RestoreFailed(f"{error} Bring the old data back: {back}") from error


def _without_selection(config: BackupConfig, alias: str) -> BackupConfig:
    """Further options may leave out comments, owners and the like."""
    everything: dict[str, list[str]] = {"include_tables": [], "exclude_tables": [], "extra_options": []}
    databases = [
        database.model_copy(update=everything) if database.alias == alias else database for database in config.databases
    ]
    return config.model_copy(update={"enabled": True, "databases": databases})
