"""A tick: claim what is due, start what waits, tell what is overdue. Any number of tickers may run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from django_cfg.backup import signals
from django_cfg.backup.config.schedule import BackupScheduleConfig
from django_cfg.backup.errors import BackupError, DumpFailed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.models import BackupRun
from django_cfg.backup.process.time_limit import limit_time
from django_cfg.backup.services.catalog.catalog import LazyCatalog
from django_cfg.backup.services.creation.create import Failure
from django_cfg.backup.services.monitoring.overdue import overdue_message
from django_cfg.backup.services.project.progress import SILENT, Progress
from django_cfg.backup.services.project.project import Project, current_project
from django_cfg.backup.services.runs import restore_history
from django_cfg.backup.services.runs.history_database import required
from django_cfg.backup.services.schedule import claims, rq
from django_cfg.backup.services.schedule.backup_job import serve
from django_cfg.backup.services.schedule.claims import Claim
from django_cfg.backup.services.schedule.verification_job import Verified, serve_verification

Scheduled = dict[tuple[BackupRun.Kind, str], BackupScheduleConfig]  # by what, and alias
_log = logging.getLogger("django_cfg.backup")


@dataclass
class Ticked:
    """What a tick has done, by alias; that of a verification is followed by the word."""

    claimed: dict[str, datetime] = field(default_factory=dict)  # slots
    enqueued: list[str] = field(default_factory=list)
    results: list[Manifest | Failure] = field(default_factory=list)  # of backups that ran in place
    verified: list[Verified | Failure] = field(default_factory=list)  # likewise, of verifications
    problems: list[BackupError] = field(default_factory=list)  # of the tick, not of a backup


def tick(*, in_place: bool | None = None, progress: Progress = SILENT) -> Ticked:
    """Do what is due.

    :param in_place: make the backups here and now instead of on RQ; None: when there are no RQ queues.
    :returns: also what went wrong; that has been told by ``schedule_failed`` and ``backup_failed``.
    """
    project = current_project()
    done = Ticked()
    scheduled = _scheduled(project)
    backups = {alias: schedule for (kind, alias), schedule in scheduled.items() if kind == BackupRun.Kind.BACKUP}
    if not scheduled:
        return done
    if in_place is None:
        in_place = not rq.has_queues()
    shelf = LazyCatalog(project)
    with _problems_of(done), required("look after runs that died"):
        claims.bury_the_dead(project)
        restore_history.bury_the_dead(project)
    for (kind, alias), schedule in scheduled.items():
        with _problems_of(done), required(f"claim the due {kind} of {alias!r}"):
            if slot := Claim(project, project.source(alias), schedule, shelf, kind).make():
                done.claimed[_label(kind, alias)] = slot
    _start_what_waits(project, scheduled, done, in_place, progress)
    _tell_what_is_overdue(project, backups, done)
    _tell_how_it_went(project, done)
    return done


def raise_problems(ticked: Ticked) -> None:
    """
    :raises BackupError: the tick could not do its work, or not all of it.
    """
    if ticked.problems:
        raise BackupError("\n".join(dict.fromkeys(map(str, ticked.problems))))


def _scheduled(project: Project) -> Scheduled:
    """Backups come first."""
    config, aliases = project.config, project.aliases()
    chosen = {(BackupRun.Kind.BACKUP, alias): config.schedule_for(alias) for alias in aliases}
    chosen |= {(BackupRun.Kind.VERIFICATION, alias): config.verification_schedule_for(alias) for alias in aliases}
    return {key: schedule for key, schedule in chosen.items() if schedule}


def _key(claim: BackupRun) -> tuple[BackupRun.Kind, str]:
    return BackupRun.Kind(claim.kind), claim.database


def _label(kind: str, alias: str) -> str:
    return alias if kind == BackupRun.Kind.BACKUP else f"{alias} {kind}"


def _start_what_waits(project: Project, scheduled: Scheduled, done: Ticked, in_place: bool, progress: Progress) -> None:
    waiting: list[BackupRun] = []
    with _problems_of(done), required("read the claims"):
        waiting = [claim for claim in claims.waiting(project) if _key(claim) in scheduled]
    for claim in waiting:
        if in_place:
            _serve(claim, done, progress, scheduled[_key(claim)].job_timeout)
            continue
        with _problems_of(done), required("start what waits"):
            if rq.enqueue(claim, scheduled[_key(claim)]):
                done.enqueued.append(_label(claim.kind, claim.database))


def _serve(claim: BackupRun, done: Ticked, progress: Progress, seconds: int) -> None:
    """Each on its own: one that fails does not keep the others from being made."""
    claimed = claim.queued_at.isoformat() if claim.queued_at else ""
    is_backup = claim.kind == BackupRun.Kind.BACKUP
    failures: list[Failure] = []
    try:
        with limit_time(seconds, f"scheduled {claim.kind} of {claim.database!r}"):
            if is_backup:
                manifest = serve(claim.pk, claim.database, claimed, progress)
                done.results += [manifest] if manifest else []
            else:
                verified = serve_verification(claim.pk, claim.database, claimed, progress, waits=False)
                done.verified += [verified] if verified else []
    except BackupError as error:
        failures.append(Failure(claim.database, error))
    except Exception as error:  # noqa: BLE001
        _log.exception("The scheduled %s of %r failed in a way nobody has foreseen", claim.kind, claim.database)
        error_told = DumpFailed(f"The {claim.kind} of {claim.database!r} failed unexpectedly: {error!r}")
        failures.append(Failure(claim.database, error_told))
    if is_backup:
        done.results += failures
    else:
        done.verified += failures


def _tell_what_is_overdue(project: Project, scheduled: dict[str, BackupScheduleConfig], done: Ticked) -> None:
    shelf = LazyCatalog(project)  # anew: backups may have been made meanwhile
    with _problems_of(done), required("see what is overdue"):  # the first that fails has failed for all of them
        for alias, schedule in scheduled.items():
            source = project.source(alias)
            if message := overdue_message(project, source, schedule, shelf):
                signals.tell(signals.backup_overdue, BackupRun, source=source, message=message)


def _tell_how_it_went(project: Project, done: Ticked) -> None:
    facts = {"project": project.name, "env": project.env}
    if not done.problems:
        signals.tell(signals.schedule_succeeded, BackupRun, **facts)
        return
    message = "\n".join(dict.fromkeys(map(str, done.problems)))
    signals.tell(signals.schedule_failed, BackupRun, **facts, message=message)


@contextmanager
def _problems_of(done: Ticked) -> Iterator[None]:
    """Keep what goes wrong, and go on with the next."""
    try:
        yield
    except BackupError as error:
        done.problems.append(error)
