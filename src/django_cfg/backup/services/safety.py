"""A backup of the target before a restore that is not all or nothing, and its name when something goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from django_cfg.backup.config import BackupConfig
from django_cfg.backup.engines.base import Engine, Restoration
from django_cfg.backup.errors import BackupError, RestoreFailed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.create import create_in
from django_cfg.backup.services.progress import Progress
from django_cfg.backup.services.project import Project
from django_cfg.backup.services.verify import verify


@contextmanager
def safeguarded(
    restoration: Restoration, manifest: Manifest, project: Project, target: str, progress: Progress
) -> Iterator[None]:
    """A block that restores *manifest* into *target*. Where half a restore would be seen, the archive is verified and
    the target backed up first.

    :raises RestoreFailed: it failed, with the command that brings the old data back.
    """
    if restoration.whole:
        yield
        return
    progress.say(f"{target}: no scratch may be made beside it, so it is restored in place")
    verify(project.storage, manifest, progress, tools_dir=project.config.tools_dir)
    before = _backed_up(project, project.engine(target), progress)
    try:
        yield
    except BackupError as error:
        raise RestoreFailed(f"{error} {_way_back(before, target)}") from error


def _backed_up(project: Project, engine: Engine, progress: Progress) -> Manifest | None:
    """All of the target, whatever the settings leave out of its backups; nothing where it is empty."""
    if engine.is_empty():
        return None
    alias = engine.database.alias
    whole = replace(project, config=_without_selection(project.config, alias))
    return create_in(whole, alias, trigger="before-restore", note="made before a restore in place", progress=progress)


def _without_selection(config: BackupConfig, alias: str) -> BackupConfig:
    everything = {"include_tables": [], "exclude_tables": [], "enabled": True}
    databases = [
        database.model_copy(update=everything) if database.alias == alias else database for database in config.databases
    ]
    return config.model_copy(update={"enabled": True, "databases": databases})


def _way_back(before: Manifest | None, target: str) -> str:
    if before is None:
        return f"The database {target!r} was empty before: empty it, and try again."
    return f"Bring the old data back: manage.py backup_restore {before.name} --to {target}"
