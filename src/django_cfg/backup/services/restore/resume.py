"""Finishing what a restore that was killed had begun to switch."""

from __future__ import annotations

import logging
import socket
from itertools import takewhile

from django_cfg.backup import signals
from django_cfg.backup.engines.base import Engine, SwitchResult
from django_cfg.backup.errors import BackupError, UsageError
from django_cfg.backup.manifest import Manifest, Source
from django_cfg.backup.models import Run
from django_cfg.backup.process.deferred_signals import defer_signals
from django_cfg.backup.services.catalog.places import read_places
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.connections import close_connections
from django_cfg.backup.services.project.project import Project, current_project, operation
from django_cfg.backup.services.restore.restore import RestoreReport, holds_history
from django_cfg.backup.services.runs.file_lock import source_lock
from django_cfg.backup.services.runs.history_database import (
    attempted,
    find_runs,
    history_alias,
    reconcile_if_restored,
    refusal_logged,
    retry_while_locked,
)
from django_cfg.backup.services.verification import migration_state

_log = logging.getLogger("django_cfg.backup")


@operation()
def resume_restore(alias: str | None = None) -> RestoreReport:
    """Finish the interrupted switch of the database *alias*; None: of the project's only database.

    :returns: where the old data is, and how the restored data compares with the code.
    :raises UsageError: there is nothing to finish, or there are several databases and none is named.
    """
    project = current_project()
    alias = alias or only_database(project)
    engine, target = project.engine(alias), project.source(alias)
    in_target = holds_history(project, engine)
    with defer_signals(), source_lock(project, target, Run.Kind.RESTORE):
        begun = None if in_target else _unfinished(target)
        close_connections(project, engine)
        switched = _finish(engine, alias)
        _record(project, target, begun, switched, in_target=in_target)
    advice = [switched.advice]
    with refusal_logged("compare the migrations of the restored data with the code"):
        advice.append(migration_state.compare_database(alias))
    return RestoreReport(
        restored=begun.name if begun else None,
        to=alias,
        old_data=switched.old_data,
        advice=" ".join(filter(None, advice)),
    )


def _unfinished(target: Source) -> Run | None:
    """Return the interrupted restore of *target*, where the history knows beyond doubt which one it was."""
    restores: list[Run] = []
    with attempted("look for the interrupted restore") as is_possible:
        if is_possible:
            restores += takewhile(lambda row: row.state != Run.State.SUCCEEDED, find_runs(target, Run.Kind.RESTORE))
    candidates = [row for row in restores if row.state == Run.State.RUNNING or "--resume" in row.message]
    return candidates[-1] if len({(row.name, row.tables) for row in candidates}) == 1 else None


def _finish(engine: Engine, alias: str) -> SwitchResult:
    switched = engine.resume()
    if switched is None:
        raise UsageError(
            f"No restore of the database {alias!r} was interrupted while it switched, so there is nothing to resume: "
            "the database is completely as it was, or completely restored."
        )
    return switched


def _record(project: Project, target: Source, begun: Run | None, switched: SwitchResult, *, in_target: bool) -> None:
    """Write and send what an uninterrupted restore would; the storage may be away."""
    backups: list[Manifest] = []
    try:
        backups += read_places(project).backups
    except BackupError as error:
        _log.warning("The history is not compared with the storage: %s", error)
    if in_target:
        reconcile_if_restored(backups)
    row = begun or Run(**target.model_dump(), kind=Run.Kind.RESTORE, host=socket.gethostname(), started_at=clock.now())
    row.state, row.old_data, row.message, row.finished_at = (
        Run.State.SUCCEEDED, switched.old_data or "", "", clock.now()
    )  # fmt: skip
    with attempted("write the history of this restore") as is_possible:
        if is_possible:
            retry_while_locked(lambda: row.save(using=history_alias()))
    signals.send(
        signals.restore_succeeded,
        manifest=next((found for found in backups if begun and found.name == begun.name), None),
        database=target.database,
        old_data=switched.old_data,
        seconds=(row.finished_at - row.started_at).total_seconds(),
    )


def only_database(project: Project) -> str:
    """
    :raises UsageError: there are several.
    """
    aliases = project.aliases()
    if len(aliases) != 1:
        raise UsageError(f"There are several databases ({', '.join(aliases)}): choose one with --to.")
    return aliases[0]
