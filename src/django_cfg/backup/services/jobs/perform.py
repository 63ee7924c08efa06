"""Doing a job, wherever it runs: with progress on its board, as the user who has asked for it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django_cfg.backup.errors import BackupError, Cancelled, UsageError
from django_cfg.backup.formatting import counted, megabytes, one_paragraph, printable
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.models import Run
from django_cfg.backup.pipeline.encryption.decryption_keys import decryption_keys
from django_cfg.backup.process.deferred_signals import defer_signals
from django_cfg.backup.services.catalog.catalog import find_backup, read_catalog
from django_cfg.backup.services.creation.batch import batch_error, create_backups
from django_cfg.backup.services.jobs.boards import Board, FileBoard
from django_cfg.backup.services.jobs.job import LINES, Job, JobPhase, JobState
from django_cfg.backup.services.jobs.launch import take_waiting
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.actor import acting_as
from django_cfg.backup.services.project.progress import Progress
from django_cfg.backup.services.project.project import Project, current_project, operation
from django_cfg.backup.services.restore.restore import execute_restore, plan_restore
from django_cfg.backup.services.restore.undo import undo_restore
from django_cfg.backup.services.retention.prune import execute_prune, plan_prune, still_due
from django_cfg.backup.services.runs.file_lock import source_lock
from django_cfg.backup.services.runs.run import RecordedRun, failure_reason
from django_cfg.backup.services.verification.drill import drill, require_success
from django_cfg.backup.services.verification.verify import verify

_EVERY = 1.0  # seconds
_log = logging.getLogger("django_cfg.backup")
Outcome = tuple[str, dict[str, Any]]  # what was done, in words; and as data


class JobProgress:
    """Keeps what is reported, for the board."""

    def __init__(self) -> None:
        self.cancelled_by = ""
        self.stage = ""
        self.done = self.total = 0
        self.lines: deque[str] = deque(maxlen=LINES)
        self._begun = time.monotonic()

    @property
    def rate(self) -> int:
        """Bytes per second of this stage."""
        return int(self.done / max(time.monotonic() - self._begun, 0.1))

    def say(self, text: str) -> None:
        self.stage, self.done, self.total = one_paragraph(text), 0, 0
        self.lines.append(self.stage)

    def begin(self, label: str, total: int) -> None:
        self.stage, self.done, self.total, self._begun = one_paragraph(label), 0, total, time.monotonic()

    def advance(self, count: int) -> None:
        self.done += count

    def end(self) -> None:
        self.lines.append(f"{self.stage}: {megabytes(self.done)}, {megabytes(self.rate)}/s")


@operation()
def perform(job: Job, board: Board, where: str, queue: str = "") -> JobState:
    """Do *job*; its end is written to *board* and returned, whatever happens."""
    progress = JobProgress()

    def state(**values: Any) -> JobState:
        live = {"stage": progress.stage, "done": progress.done, "total": progress.total, "rate": progress.rate}
        facts = {"phase": JobPhase.RUNNING, "where": where, "queue": queue, "seen_at": clock.now(), **live, **values}
        return JobState(job=job, lines=tuple(progress.lines), **facts)

    with _watched(board, progress, state):
        ended = _ended(job, progress)
    last = state(ended_at=clock.now(), **ended)
    board.write(last)
    return last


@contextmanager
def _watched(board: Board, progress: JobProgress, state: Callable[[], JobState]) -> Iterator[None]:
    """Write the state every second, and see whether the job is to end."""
    ended = threading.Event()

    def watch() -> None:
        while True:
            with suppress(BackupError, OSError):
                board.write(state())
                progress.cancelled_by = board.cancelled_by()
            if ended.wait(_EVERY):
                return

    thread = threading.Thread(target=watch, name="backup-job", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _ended(job: Job, progress: JobProgress) -> dict[str, Any]:
    """Do it, and return how it ended."""
    try:
        with acting_as(job.by):
            message, result = _ACTIONS[job.action](current_project(), job, progress)
    except Cancelled as error:
        return {"phase": JobPhase.CANCELLED, "message": str(error)}
    except BackupError as error:
        return {"phase": JobPhase.FAILED, "message": str(error)}
    except Exception as error:  # noqa: BLE001  its end is on the board, whatever it was
        _log.exception("The job %s failed unexpectedly", job)
        return {"phase": JobPhase.FAILED, "message": printable(failure_reason(error), keep_lines=True)}
    except BaseException as error:  # noqa: BLE001
        _log.warning("The job %s was ended: %r", job, error)
        return {"phase": JobPhase.FAILED, "message": f"It was ended from outside. {failure_reason(error)}"}
    return {"phase": JobPhase.SUCCEEDED, "message": message, "result": result}


def _backup(project: Project, job: Job, progress: Progress) -> Outcome:
    results = list(create_backups(job.databases, note=job.note, progress=progress))
    if error := batch_error(results):
        raise error
    made = [result for result in results if isinstance(result, Manifest)]
    names = ", ".join(manifest.name for manifest in made)
    return f"{counted(len(made), 'backup')} made: {names}.", {"names": [manifest.name for manifest in made]}


def _verify(project: Project, job: Job, progress: Progress) -> Outcome:
    checked = [_verify_one(project, name, progress, with_drill=job.action == "drill") for name in job.names]
    return " ".join(checked), {"names": list(job.names)}


def _verify_one(project: Project, name: str, progress: Progress, *, with_drill: bool) -> str:
    """Verify one backup, as a run of the history."""
    catalog = read_catalog(project.storage, project.signing_keys)
    manifest = find_backup(catalog, project, name)
    catalog.require_signature(manifest, allow_unsigned=not with_drill)
    keys = decryption_keys(project.config)
    kind = Run.Kind.VERIFICATION
    with (
        defer_signals(cancellable=True) as deferred,
        source_lock(project, manifest.source, kind) as lock_file,
    ):
        run = RecordedRun(
            project, manifest.source, kind, deferred=deferred, progress=progress, lock_file=lock_file, name=name
        )
        with run.recorded(), deferred.allowed():
            if with_drill:
                require_success(proof := drill(project, manifest, keys, run.progress))
                done = f"{name} was restored and compared: {proof.tables:,} tables, {proof.rows:,} rows."
            else:
                verify(
                    project.storage, manifest, run.progress, tools_dir=project.config.tools_dir, keys=keys
                )  # fmt: skip
                done = f"{name} was read to its last byte and is good."
            run.succeed(name=name, size=manifest.archive.size)
    return done


def _restore(project: Project, job: Job, progress: Progress) -> Outcome:
    choice = job.restore
    if choice is None:
        raise UsageError("The job does not say where to restore.")
    plan = plan_restore(
        job.names[0],
        to=choice.to,
        options=choice.options,
        allow_unsigned=choice.allow_unsigned,
        progress=progress,
    )
    report = execute_restore(plan, progress)
    text = f"{report.to} is now as in {report.restored}."
    kept = f" Its old data is kept in {report.old_data}." if report.old_data else ""
    return f"{text}{kept} {report.advice}".rstrip(), report.document


def _undo(project: Project, job: Job, progress: Progress) -> Outcome:
    if job.undo is None:
        raise UsageError("The job does not say which restore to undo.")
    alias, old_data = job.undo
    report = undo_restore(alias, old_data, disconnect=True, progress=progress)
    text = f"{alias} is again as it was before the restore. What was restored is kept in {report.old_data}."
    return text, report.document


def _prune(project: Project, job: Job, progress: Progress) -> Outcome:
    """Delete of what was shown as due only what is still due."""
    everything = project.source("")
    with defer_signals(cancellable=True) as deferred:
        run = RecordedRun(project, everything, Run.Kind.PRUNE, deferred=deferred, progress=progress)
        with run.recorded(), deferred.allowed():
            report = execute_prune(still_due(job.names, plan_prune()), run.progress)
            report.require_complete()
            deleted = f"{counted(len(report.deleted), 'backup')} deleted, {megabytes(report.freed)} freed."
            run.succeed(size=report.freed, message=deleted)
    return deleted, report.document


def perform_waiting() -> None:
    """Do the jobs that wait for a tick, one after the other; how each ended is on its board."""
    for job in take_waiting(current_project()):
        perform(job, FileBoard(job.id), "with a tick")


_ACTIONS: dict[str, Callable[[Project, Job, Progress], Outcome]] = {
    "backup": _backup,
    "verify": _verify,
    "drill": _verify,
    "restore": _restore,
    "undo": _undo,
    "prune": _prune,
}
