"""A backup of what a restore would destroy, where the restore itself cannot set it aside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from django_cfg.backup.config.backup import BackupConfig
from django_cfg.backup.engines.base import Engine, Preflight, Restoration, RestoreOptions
from django_cfg.backup.errors import BackupError, CopyFailed, RestoreFailed, RestoreRefused
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.creation.create import create_in
from django_cfg.backup.services.project.progress import Progress
from django_cfg.backup.services.project.project import Project


def needs_backup_first(engine: Engine, preflight: Preflight, options: RestoreOptions) -> bool:
    """Return True if the old data would be lost and no option allows that."""
    return not preflight.keeps_old_data and not options.discard_old and not engine.is_empty()


def back_up_first(project: Project, alias: str, restored: Manifest, progress: Progress) -> Manifest:
    """Back up all of the database *alias*, whatever the settings leave out, before *restored* replaces it.

    :raises RestoreRefused: it failed; the database is as it was.
    """
    everything = replace(project, config=_without_selection(project.config, alias))
    try:
        return create_in(everything, alias, trigger="before-restore", note=f"before {restored.name}", progress=progress)
    except CopyFailed as error:
        progress.say(str(error))
        made: Manifest = error.manifest
        return made
    except BackupError as error:
        raise RestoreRefused(
            f"The present data of {alias!r} would be replaced in place, and the backup of it that is made first "
            f"failed: {error} To restore without it, and lose that data, give --discard-old."
        ) from error


@contextmanager
def explain_recovery(restoration: Restoration, before: Manifest | None, alias: str) -> Iterator[None]:
    """Say so if the block fails, or is ended by a signal, with the database neither old nor new; name *before*, the
    backup of the old data.

    :raises RestoreFailed: instead of an error of ours. Any other exception gets a note.
    """
    try:
        yield
    except BackupError as error:
        if not restoration.has_changed_target:
            raise
        raise RestoreFailed(f"{error} {_neither_old_nor_new(before, alias)}") from error
    except BaseException as error:
        if restoration.has_changed_target:
            error.add_note(_neither_old_nor_new(before, alias))
        raise


def _neither_old_nor_new(before: Manifest | None, alias: str) -> str:
    state = f"The database {alias!r} is now neither as it was nor restored."
    if before is None:
        return f"{state} There is no backup of what it held before this restore: restore again, this one or another."
    return f"{state} Bring the old data back: manage.py backup_restore {before.name} --to {alias}"


def _without_selection(config: BackupConfig, alias: str) -> BackupConfig:
    """Further options may leave out comments, owners and the like."""
    no_selection: dict[str, list[str]] = {"include_tables": [], "exclude_tables": [], "extra_options": []}
    databases = [
        database.model_copy(update=no_selection) if database.alias == alias else database
        for database in config.databases
    ]
    return config.model_copy(update={"enabled": True, "databases": databases})
