"""Finishing what a restore that was killed had begun to switch."""

from __future__ import annotations

import logging
from dataclasses import replace

from django_cfg.backup.engines.base import Engine, SwitchResult
from django_cfg.backup.errors import BackupError, UsageError
from django_cfg.backup.manifest import Manifest, Source
from django_cfg.backup.models import RestoreRun
from django_cfg.backup.process.deferred_signals import defer_signals
from django_cfg.backup.services.catalog.catalog import read_catalog
from django_cfg.backup.services.project.connections import close_connections
from django_cfg.backup.services.project.project import Project, current_project
from django_cfg.backup.services.restore.restore import holds_history
from django_cfg.backup.services.runs import history_database
from django_cfg.backup.services.runs.file_lock import source_lock
from django_cfg.backup.services.runs.restore_history import KIND, resumed, unfinished
from django_cfg.backup.services.verification import migration_state

_log = logging.getLogger("django_cfg.backup")


def resume_restore(alias: str | None = None) -> tuple[str, SwitchResult]:
    """Finish the interrupted switch of the database *alias*; None: of the one that there is.

    :returns: the alias, and what the restore leaves behind; its advice tells how the data stands to the code, too.
    :raises UsageError: there is nothing to finish, or several databases and none is named.
    """
    project = current_project()
    alias = alias or _only_one(project)
    engine, target = project.engine(alias), project.source(alias)
    in_target = holds_history(project, engine)
    with source_lock(project, target, KIND):
        begun = None if in_target else unfinished(target)
        close_connections(project, engine)
        with defer_signals():
            switched = _finish(engine, alias)
            _record(project, target, begun, switched, in_target=in_target)
    advice = [switched.advice]
    with history_database.tolerated("compare the migrations of the restored data with the code"):
        advice.append(migration_state.compare_database(alias))
    return alias, replace(switched, advice=" ".join(filter(None, advice)))


def _finish(engine: Engine, alias: str) -> SwitchResult:
    switched = engine.resume()
    if switched is None:
        raise UsageError(
            f"No restore of the database {alias!r} was interrupted while it switched, so there is nothing to resume: "
            "it is wholly as it was, or wholly restored."
        )
    return switched


def _record(
    project: Project, target: Source, begun: RestoreRun | None, switched: SwitchResult, *, in_target: bool
) -> None:
    """What a restore that was not interrupted would keep and tell; the storage may be away."""
    backups: list[Manifest] = []
    try:
        backups += read_catalog(project.storage).backups
    except BackupError as error:
        _log.warning("The history is not compared with the storage: %s", error)
    if in_target:
        history_database.reconcile_if_restored(backups)
    manifest = next((found for found in backups if begun and found.name == begun.name), None)
    resumed(target, begun, manifest, switched)


def _only_one(project: Project) -> str:
    aliases = project.aliases()
    if len(aliases) != 1:
        raise UsageError(f"There are several databases ({', '.join(aliases)}): choose one with --database.")
    return aliases[0]
