"""A tick: claim what is due, start what waits, tell what is overdue. Any number of tickers may run."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from pydantic import BaseModel, ConfigDict

from django_cfg.backup import signals
from django_cfg.backup.config.schedule import BackupScheduleConfig
from django_cfg.backup.errors import BackupError, CopyFailed, DumpFailed, SomeFailed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.models import Run
from django_cfg.backup.process.time_limit import limit_time
from django_cfg.backup.records import ErrorText, Moment
from django_cfg.backup.services.catalog.places import LazyCatalog
from django_cfg.backup.services.copies.copy import CopyOutcome, copy_missing
from django_cfg.backup.services.copies.missing import find_missing, find_missing_proofs
from django_cfg.backup.services.creation.batch import Failure, batch_error
from django_cfg.backup.services.monitoring.object_cache import CachedCatalog
from django_cfg.backup.services.monitoring.overdue import overdue_message
from django_cfg.backup.services.monitoring.webhooks import send_waiting
from django_cfg.backup.services.project.progress import SILENT, Progress
from django_cfg.backup.services.project.project import Project, current_project, operation
from django_cfg.backup.services.runs.history_database import required
from django_cfg.backup.services.runs.lease import fail_dead_runs
from django_cfg.backup.services.schedule import claims, queues
from django_cfg.backup.services.schedule.backup_job import run_claimed_backup
from django_cfg.backup.services.schedule.claims import Claim
from django_cfg.backup.services.schedule.verification_job import VerificationResult, run_claimed_verification

Scheduled = dict[tuple[Run.Kind, str], BackupScheduleConfig]  # by what, and alias
_log = logging.getLogger("django_cfg.backup")


class TickReport(BaseModel):
    """What a tick has done, by alias; the alias of a verification is followed by that word."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    claimed: dict[str, Moment] = {}  # slots
    enqueued: list[str] = []
    results: list[Manifest | Failure] = []  # of backups that ran in place
    verified: list[VerificationResult | Failure] = []  # likewise, of verifications
    copied: list[CopyOutcome] = []  # backups that were missing in a place
    problems: list[ErrorText] = []  # of the tick, not of a backup

    def raise_problems(self) -> None:
        """
        :raises BackupError: the tick could not do its work, or not all of it.
        """
        if self.problems:
            raise BackupError(*_paragraphs(self.problems))

    @property
    def error(self) -> BackupError | None:
        """What went wrong with the backups and verifications that ran in place."""
        error = batch_error(self.results)
        failures = [result.error for result in self.verified if isinstance(result, Failure)]
        if error is None and len(failures) == 1:
            return failures[0]
        errors = [*([error] if error else []), *failures]
        if failures:
            return BackupError(*_paragraphs(errors))
        uncopied = [f"{each.name} is not copied to {each.place}: {each.error}" for each in self.copied if each.error]
        return error or (SomeFailed(*uncopied) if uncopied else None)


@operation()
def tick(*, in_place: bool | None = None, progress: Progress = SILENT) -> TickReport:
    """Do what is due.

    :param in_place: make the backups here and now instead of on a queue; None: as BackupConfig.queue_backend says.
    :returns: also what went wrong, for which ``schedule_failed`` and ``backup_failed`` have been sent.
    """
    project = current_project()
    done = TickReport()
    scheduled = _scheduled(project)
    backups = {alias: schedule for (kind, alias), schedule in scheduled.items() if kind == Run.Kind.BACKUP}
    if in_place is None:
        in_place = queues.choose_backend(project.config) == "process"
    if not scheduled:
        _make_up_copies(project, done, in_place, progress)  # of backups that are made by hand
        send_waiting(project)
        return done
    catalog = LazyCatalog(project)
    with _problems_of(done), required("fail the runs whose process is gone"):
        fail_dead_runs(project)
    for (kind, alias), schedule in scheduled.items():
        with _problems_of(done), required(f"claim the due {kind} of {alias!r}"):
            if slot := Claim(project, project.source(alias), schedule, catalog, kind).make():
                done.claimed[_label(kind, alias)] = slot
    _start_waiting(project, scheduled, done, in_place, progress)
    _make_up_copies(project, done, in_place, progress)
    _send_overdue(project, backups, done)
    _send_outcome(project, done)
    send_waiting(project)
    return done


def _scheduled(project: Project) -> Scheduled:
    """Backups come first."""
    config, aliases = project.config, project.aliases()
    chosen = {(Run.Kind.BACKUP, alias): config.schedule_for(alias) for alias in aliases}
    chosen |= {(Run.Kind.VERIFICATION, alias): config.verification_schedule_for(alias) for alias in aliases}
    return {key: schedule for key, schedule in chosen.items() if schedule}


def _key(claim: Run) -> tuple[Run.Kind, str]:
    return Run.Kind(claim.kind), claim.database


def _label(kind: str, alias: str) -> str:
    return alias if kind == Run.Kind.BACKUP else f"{alias} {kind}"


def _start_waiting(
    project: Project, scheduled: Scheduled, done: TickReport, in_place: bool, progress: Progress
) -> None:
    waiting: list[Run] = []
    with _problems_of(done), required("read the claims"):
        waiting = [claim for claim in claims.waiting_claims(project) if _key(claim) in scheduled]
    for claim in waiting:
        if in_place:
            _serve(claim, done, progress, scheduled[_key(claim)].job_timeout)
            continue
        with _problems_of(done), required("start what waits"):
            if queues.enqueue(project, claim, scheduled[_key(claim)]):
                done.enqueued.append(_label(claim.kind, claim.database))


def _serve(claim: Run, done: TickReport, progress: Progress, seconds: int) -> None:
    """Each on its own: one that fails does not keep the others from being made."""
    is_backup = claim.kind == Run.Kind.BACKUP
    failures: list[Failure] = []
    try:
        with limit_time(seconds, f"scheduled {claim.kind} of {claim.database!r}"):
            if is_backup:
                manifest = run_claimed_backup(claim.pk, claim.database, claim.claimed, progress)
                done.results += [manifest] if manifest else []
            else:
                verified = run_claimed_verification(claim.pk, claim.database, claim.claimed, progress, waits=False)
                done.verified += [verified] if verified else []
    except CopyFailed as error:
        done.results.append(error.manifest)
        failures.append(Failure(database=claim.database, error=error))
    except BackupError as error:
        failures.append(Failure(database=claim.database, error=error))
    except Exception as error:  # noqa: BLE001
        _log.exception("The scheduled %s of %r failed unexpectedly", claim.kind, claim.database)
        unexpected = DumpFailed(f"The {claim.kind} of {claim.database!r} failed unexpectedly: {error!r}")
        failures.append(Failure(database=claim.database, error=unexpected))
    if is_backup:
        done.results += failures
    else:
        done.verified += failures


def _make_up_copies(project: Project, done: TickReport, in_place: bool, progress: Progress) -> None:
    """Copy what is missing in a place, or put that on the queue of backups."""
    if not (project.config.copies and project.config.enabled):
        return
    with _problems_of(done):
        cached = CachedCatalog(project)
        catalog = cached.read()
        cached.save(catalog)
        if not (find_missing(project, catalog) or find_missing_proofs(project, catalog)):
            return
        if in_place:
            done.copied = copy_missing(project, progress, catalog)
        elif queues.enqueue_copies(project):
            done.enqueued.append("copies")


def _send_overdue(project: Project, scheduled: dict[str, BackupScheduleConfig], done: TickReport) -> None:
    catalog = LazyCatalog(project)  # read again: backups may have been made in the meantime
    with _problems_of(done), required("see what is overdue"):  # the first that fails has failed for all of them
        for alias, schedule in scheduled.items():
            source = project.source(alias)
            if message := overdue_message(project, source, schedule, catalog):
                signals.send(signals.backup_overdue, source=source, message=message)


def _paragraphs(errors: Iterable[BackupError]) -> list[str]:
    return [paragraph for text in dict.fromkeys(map(str, errors)) for paragraph in text.splitlines()]


def _send_outcome(project: Project, done: TickReport) -> None:
    facts = {"project": project.name, "env": project.env, "source": None, "kind": ""}
    if not done.problems:
        signals.send(signals.schedule_succeeded, **facts)
        return
    message = "\n".join(dict.fromkeys(map(str, done.problems)))
    signals.send(signals.schedule_failed, **facts, message=message)


@contextmanager
def _problems_of(done: TickReport) -> Iterator[None]:
    """Keep what goes wrong, and go on with the next."""
    try:
        yield
    except BackupError as error:
        done.problems.append(error)
