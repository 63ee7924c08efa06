"""Doing a job, wherever it runs: with progress on its board, as the user who has asked for it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from django_cfg.backup.errors import BackupError, BackupNotFound, Cancelled, SomeFailed, UsageError
from django_cfg.backup.formatting import counted, elapsed, megabytes, one_paragraph, printable
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.models import Run
from django_cfg.backup.pipeline.encryption.decryption_keys import decryption_keys
from django_cfg.backup.process.redaction import redact
from django_cfg.backup.process.threads import start_thread
from django_cfg.backup.services.catalog.catalog import LATEST, find_backup
from django_cfg.backup.services.catalog.places import places_with, read_places
from django_cfg.backup.services.creation.batch import Failure, batch_error, create_backups
from django_cfg.backup.services.jobs.boards import Board, FileBoard
from django_cfg.backup.services.jobs.job import LINES, Job, JobPhase, JobState
from django_cfg.backup.services.jobs.launch import take_waiting
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.actor import acting_as
from django_cfg.backup.services.project.progress import Progress
from django_cfg.backup.services.project.project import Project, current_project, operation
from django_cfg.backup.services.project.secrets import keep_secrets_out_of_logs, secrets_of
from django_cfg.backup.services.restore.restore import RestoreRequest, execute_restore, plan_restore
from django_cfg.backup.services.restore.undo import undo_restore
from django_cfg.backup.services.retention.prune import execute_prune, plan_prune, still_due
from django_cfg.backup.services.runs.run import RecordedRun, failure_reason
from django_cfg.backup.services.verification.drill import drill, require_success
from django_cfg.backup.services.verification.verify import verify

_EVERY = 1.0  # seconds
_PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0)  # seconds; a Redis that is restarted is back by then
_STALE_AFTER = timedelta(days=1)
_WITH_A_TICK = "with a tick"
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

    def require_not_cancelled(self) -> None:
        """
        :raises Cancelled: somebody has cancelled the job.
        """
        if self.cancelled_by:
            raise Cancelled(f"Cancelled by {self.cancelled_by}.")

    def end(self) -> None:
        self.lines.append(f"{self.stage}: {megabytes(self.done)}, {megabytes(self.rate)}/s")


def perform_once(job: Job, board: Board, where: str, queue: str = "") -> JobState | None:
    """Do *job* as :func:`perform` does; None: it was done before, and is not done twice."""
    if not board.take():
        _log.warning("The job %s was begun before, and is not done again.", job)
        return None
    return perform(job, board, where, queue)


@operation()
def perform(job: Job, board: Board, where: str, queue: str = "") -> JobState:
    """Do *job*; its end is written to *board* and returned.

    What ends the process, as SIGTERM does, ends the job and is raised again.
    """
    progress = JobProgress()

    def state(**values: Any) -> JobState:
        live = {"stage": progress.stage, "done": progress.done, "total": progress.total, "rate": progress.rate}
        facts = {"phase": JobPhase.RUNNING, "where": where, "queue": queue, "seen_at": clock.now(), **live, **values}
        return JobState(job=job, lines=tuple(progress.lines), **facts)

    with _secrets_hidden() as secrets:
        try:
            with _watched(board, progress, state):
                ended = _ended(job, progress, secrets)
        except BaseException as error:
            why = f"It was ended from outside. {failure_reason(error)}"
            _write_last(board, state(ended_at=clock.now(), phase=JobPhase.FAILED, message=why))
            raise
        last = state(ended_at=clock.now(), **ended)
        _write_last(board, last)
    return last


@contextmanager
def _secrets_hidden() -> Iterator[set[str]]:
    """Keep the secrets of the settings out of the log of the process, and yield them."""
    try:
        secrets = secrets_of(current_project())
    except BackupError:  # of the settings, which the job itself will meet
        secrets = set()
    with keep_secrets_out_of_logs(secrets):
        yield secrets


def _write_last(board: Board, last: JobState) -> None:
    """Write how the job ended. What it did stays done where that cannot be written."""
    for pause in _PAUSES:
        time.sleep(pause)
        try:
            board.write(last)
        except (BackupError, OSError) as error:
            _log.warning("How the job %s ended (%s) cannot be written: %s", last.job, last.phase, error)
        else:
            break


@contextmanager
def _watched(board: Board, progress: JobProgress, state: Callable[[], JobState]) -> Iterator[None]:
    """Write the state every second, and see whether the job is to end."""
    ended = threading.Event()

    def look() -> None:
        with suppress(BackupError, OSError):
            progress.cancelled_by = board.cancelled_by() or progress.cancelled_by
            board.write(state())

    def watch() -> None:
        while True:
            look()
            if ended.wait(_EVERY):
                return

    look()  # it may have been cancelled while it waited
    thread = start_thread(watch, "backup-job")
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _ended(job: Job, progress: JobProgress, secrets: set[str]) -> dict[str, Any]:
    """Do it, and return how it ended."""
    try:
        progress.require_not_cancelled()
        with acting_as(job.by):
            message, result = _ACTIONS[job.action](current_project(), job, progress)
    except Cancelled as error:
        return {"phase": JobPhase.CANCELLED, "message": str(error)}
    except BackupError as error:
        made = error.made if job.action == "backup" and isinstance(error, SomeFailed) else ()
        result = {"names": list(made)} if made else {}
        return {"phase": JobPhase.FAILED, "message": redact(str(error), secrets), "result": result}
    except Exception as error:  # noqa: BLE001  its end is on the board, whatever it was
        _log.exception("The job %s failed unexpectedly", job)
        message = printable(redact(failure_reason(error), secrets), keep_lines=True)
        return {"phase": JobPhase.FAILED, "message": message}
    return {"phase": JobPhase.SUCCEEDED, "message": message, "result": result}


def _backup(project: Project, job: Job, progress: JobProgress) -> Outcome:
    results: list[Manifest | Failure] = []
    for result in create_backups(job.databases, note=job.note, progress=progress):
        results.append(result)
        if progress.cancelled_by:
            break  # the other databases are not begun
    made = [result.name for result in results if isinstance(result, Manifest)]
    done = f"{counted(len(made), 'backup')} made: {', '.join(made)}."
    errors = [result.error for result in results if isinstance(result, Failure)]
    if progress.cancelled_by and not errors and len(made) < len(job.databases or project.aliases()):
        errors.append(Cancelled(f"Cancelled by {progress.cancelled_by}."))
    if errors and all(isinstance(error, Cancelled) for error in errors):
        raise Cancelled(*map(str, errors), *([done] if made else []))
    if error := batch_error(results):
        raise error
    return done, {"names": made}


def _verify(project: Project, job: Job, progress: JobProgress) -> Outcome:
    checked = []
    for name in job.names:
        progress.require_not_cancelled()
        checked.append(_verify_one(project, name, progress, with_drill=job.action == "drill"))
    return " ".join(checked), {"names": list(job.names)}


def _verify_one(project: Project, name: str, progress: Progress, *, with_drill: bool) -> str:
    """Verify one backup, as a run of the history."""
    catalog = read_places(project)
    manifest = find_backup(catalog, project, name)
    _require_chosen(name, manifest)
    catalog.require_signature(manifest, allow_unsigned=not with_drill)
    place = places_with(project, catalog, manifest)[0]
    keys = decryption_keys(project.config)
    run = RecordedRun(project, manifest.source, Run.Kind.VERIFICATION, progress=progress, name=name)
    with run.recorded(), run.interruptible():
        if with_drill:
            require_success(proof := drill(project, place, manifest, keys, run.progress))
            done = f"{name} was restored and compared: {proof.tables:,} tables, {proof.rows:,} rows."
        else:
            verify(project, place, manifest, keys, run.progress)
            done = f"{name} was read to its last byte and is good."
        run.succeed(name=name, size=manifest.size)
    return done


def _require_chosen(name: str, found: Manifest) -> None:
    """What was chosen may be gone since; a backup whose name only begins with that of it is another one.

    :raises BackupNotFound: it is gone.
    """
    if name not in (found.name, LATEST):
        raise BackupNotFound(f"{name} was deleted after it was chosen. Choose another backup.")


class _UntilCancelled:
    """Progress of what is no run yet, and changes nothing: it can end at any step."""

    def __init__(self, progress: JobProgress) -> None:
        self._progress = progress
        self.say, self.begin, self.end = progress.say, progress.begin, progress.end

    def advance(self, count: int) -> None:
        self._progress.require_not_cancelled()
        self._progress.advance(count)


def _restore(project: Project, job: Job, progress: JobProgress) -> Outcome:
    choice = job.restore
    if choice is None:
        raise UsageError("The job does not say where to restore.")
    plan = plan_restore(
        RestoreRequest(job.names[0], to=choice.to, options=choice.options, allow_unsigned=choice.allow_unsigned),
        _UntilCancelled(progress),
    )
    _require_chosen(job.names[0], plan.manifest)
    progress.require_not_cancelled()
    report = execute_restore(plan, progress)
    how = f", sanitised by {report.sanitized_by}" if report.sanitized_by else ""
    text = f"{report.to} is now as in {report.restored}{how}."
    kept = f" Its old data is kept in {report.old_data}." if report.old_data else ""
    return f"{text}{kept} {report.advice}".rstrip(), report.document


def _undo(project: Project, job: Job, progress: JobProgress) -> Outcome:
    if job.undo is None:
        raise UsageError("The job does not say which restore to undo.")
    alias, old_data = job.undo
    report = undo_restore(alias, old_data, disconnect=True, progress=progress)
    text = f"{alias} is again as it was before the restore. What was restored is kept in {report.old_data}."
    return text, report.document


def _prune(project: Project, job: Job, progress: JobProgress) -> Outcome:
    """Delete of what was shown as due only what is still due."""
    everything = project.source("")
    run = RecordedRun(project, everything, Run.Kind.PRUNE, progress=progress)
    with run.recorded(), run.interruptible():
        report = execute_prune(still_due(job.names, plan_prune()), run.progress)
        report.require_complete()
        deleted = f"{counted(len(report.deleted), 'backup')} deleted, {megabytes(report.freed)} freed."
        run.succeed(size=report.freed, message=deleted)
    return deleted, report.document


def perform_waiting() -> None:
    """Do the jobs that wait for a tick, one after the other; how each ended is on its board."""
    for job in take_waiting(current_project()):
        board = FileBoard(job.id)
        try:
            if clock.now() - job.at > _STALE_AFTER:
                _refuse_stale(job, board)
            else:
                perform_once(job, board, _WITH_A_TICK)
        except BackupError as error:  # the next one goes on
            _log.error("The job %s could not be done: %s", job, error)


def _refuse_stale(job: Job, board: Board) -> None:
    """It came back with a database that was restored, or no tick ran for long: a person decides again."""
    since = elapsed(clock.now() - job.at)
    why = f"It was asked for {since} ago and no tick has done it since, so it is not done any more: start it again."
    _log.error("%s: %s", job, why)
    board.write(JobState(job=job, where=_WITH_A_TICK, seen_at=clock.now()).ended(JobPhase.FAILED, why))


_ACTIONS: dict[str, Callable[[Project, Job, JobProgress], Outcome]] = {
    "backup": _backup,
    "verify": _verify,
    "drill": _verify,
    "restore": _restore,
    "undo": _undo,
    "prune": _prune,
}
