"""Undoing a restore: the old data that it has kept takes its place again, and what was restored is kept instead."""

from __future__ import annotations

from django_cfg.backup import signals
from django_cfg.backup.errors import UsageError
from django_cfg.backup.models import Run
from django_cfg.backup.services.project.connections import close_connections
from django_cfg.backup.services.project.progress import SILENT, Progress
from django_cfg.backup.services.project.project import current_project, operation
from django_cfg.backup.services.restore.restore import RestoreReport, holds_history
from django_cfg.backup.services.runs.run import RecordedRun, failure_reason


@operation()
def undo_restore(alias: str, old_data: str, *, disconnect: bool = False, progress: Progress = SILENT) -> RestoreReport:
    """Bring back the *old_data* that a restore of the database *alias* has kept.

    :param old_data: its name, as the restore has reported it and ``backup_status`` lists it.
    :param disconnect: end the connections that stand in the way.
    :returns: with where the data is kept that had been restored.
    :raises UsageError: there is no such old data, or this engine cannot switch back.
    :raises RestoreFailed: the database is as it was before this call.
    """
    project = current_project()
    engine, target = project.engine(alias), project.source(alias)
    known = [kept.name for kept in engine.list_kept_data() if not kept.is_unfinished]
    old_data = old_data.removeprefix("the database ")  # as a restore has reported it
    if old_data not in known:
        names = ", ".join(known) or "none"
        raise UsageError(f"No restore of {alias!r} has kept {old_data!r}. What is kept of it: {names}.")

    def announce(error: BaseException | None) -> None:
        if error:
            signals.send(signals.restore_failed, manifest=None, database=alias, message=failure_reason(error))

    run = RecordedRun(
        project,
        target,
        Run.Kind.RESTORE,
        progress=progress,
        in_target=holds_history(project, engine),
        cancellable=False,
        ended=announce,
    )
    with run.recorded():
        close_connections(project, engine)
        switched = engine.undo(old_data, disconnect=disconnect)
        run.succeed(old_data=switched.old_data or "", message=f"Undone: {old_data} is the database again.")
        report = RestoreReport(restored=None, to=alias, old_data=switched.old_data, advice=switched.advice)
        signals.send(signals.restore_succeeded, manifest=None, database=alias, old_data=switched.old_data, seconds=0.0)
    return report
