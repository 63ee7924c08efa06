"""A tick: claim what is due, start what waits, tell what is overdue. Any number of tickers may run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from django_cfg.backup import signals
from django_cfg.backup.config import BackupScheduleConfig
from django_cfg.backup.errors import BackupError, DumpFailed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.models import BackupRun
from django_cfg.backup.services import claims, dispatch
from django_cfg.backup.services.claims import Claim, Shelf
from django_cfg.backup.services.create import Failure
from django_cfg.backup.services.history import required
from django_cfg.backup.services.overdue import overdue_message
from django_cfg.backup.services.progress import SILENT, Progress
from django_cfg.backup.services.project import Project, current_project
from django_cfg.backup.services.scheduled import serve

_log = logging.getLogger("django_cfg.backup")


@dataclass
class Ticked:
    """What a tick has done, by alias."""

    claimed: dict[str, datetime] = field(default_factory=dict)  # slots
    enqueued: list[str] = field(default_factory=list)
    results: list[Manifest | Failure] = field(default_factory=list)  # of what ran in place
    problems: list[BackupError] = field(default_factory=list)  # of the tick, not of a backup


def tick(*, in_place: bool | None = None, progress: Progress = SILENT) -> Ticked:
    """Do what is due.

    :param in_place: make the backups here and now instead of on RQ; None: when there are no RQ queues.
    :returns: also what went wrong; that has been told by ``schedule_failed`` and ``backup_failed``.
    """
    project = current_project()
    done = Ticked()
    scheduled = _scheduled(project)
    if not scheduled:
        return done
    if in_place is None:
        in_place = not dispatch.has_queues()
    shelf = Shelf(project)
    with _problems_of(done), required("look after runs that died"):
        claims.bury_the_dead(project)
    for alias, schedule in scheduled.items():
        with _problems_of(done), required(f"claim the due backup of {alias!r}"):
            if slot := Claim(project, project.source(alias), schedule, shelf).make():
                done.claimed[alias] = slot
    _start_what_waits(project, scheduled, done, in_place, progress)
    _tell_what_is_overdue(project, scheduled, done)
    _tell_how_it_went(project, done)
    return done


def raise_problems(ticked: Ticked) -> None:
    """
    :raises BackupError: the tick could not do its work, or not all of it.
    """
    if ticked.problems:
        raise BackupError("\n".join(dict.fromkeys(map(str, ticked.problems))))


def _scheduled(project: Project) -> dict[str, BackupScheduleConfig]:
    chosen = ((alias, project.config.schedule_for(alias)) for alias in project.aliases())
    return {alias: schedule for alias, schedule in chosen if schedule}


def _start_what_waits(
    project: Project, scheduled: dict[str, BackupScheduleConfig], done: Ticked, in_place: bool, progress: Progress
) -> None:
    waiting: list[BackupRun] = []
    with _problems_of(done), required("read the claims"):
        waiting = [claim for claim in claims.waiting(project) if claim.database in scheduled]
    for claim in waiting:
        if in_place:
            _serve(claim, done, progress)
            continue
        with _problems_of(done), required("start what waits"):
            if dispatch.enqueue(claim, scheduled[claim.database]):
                done.enqueued.append(claim.database)


def _serve(claim: BackupRun, done: Ticked, progress: Progress) -> None:
    """Each on its own: one that fails does not keep the others from being made."""
    claimed = claim.queued_at.isoformat() if claim.queued_at else ""
    try:
        manifest = serve(claim.pk, claim.database, claimed, progress)
    except BackupError as error:
        done.results.append(Failure(claim.database, error))
    except Exception as error:  # noqa: BLE001
        _log.exception("The scheduled backup of %r failed in a way nobody has foreseen", claim.database)
        error_told = DumpFailed(f"The backup of {claim.database!r} failed unexpectedly: {error!r}")
        done.results.append(Failure(claim.database, error_told))
    else:
        done.results += [manifest] if manifest else []


def _tell_what_is_overdue(project: Project, scheduled: dict[str, BackupScheduleConfig], done: Ticked) -> None:
    shelf = Shelf(project)  # anew: backups may have been made meanwhile
    for alias, schedule in scheduled.items():
        with _problems_of(done), required("see what is overdue"):
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
