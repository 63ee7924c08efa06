"""Jobs: what a client has started, and how far it is."""

from __future__ import annotations

from typing import Any

from django.urls import reverse

from django_cfg.backup.api.arguments import NoQuery, read_query
from django_cfg.backup.api.endpoint import Call
from django_cfg.backup.api.storage import read_soon
from django_cfg.backup.errors import BackupNotFound, UsageError
from django_cfg.backup.process.redaction import redact
from django_cfg.backup.records import Moment, Record
from django_cfg.backup.services.jobs.find import find_board
from django_cfg.backup.services.jobs.job import Action, JobPhase, JobState
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.secrets import secrets_of


class JobReport(Record):
    """How far a job is."""

    id: str
    address: str  # where this report is
    action: Action
    by: str  # the client, or the user of the admin
    at: Moment  # when it was asked for
    databases: tuple[str, ...]  # aliases, of a backup; empty: all
    names: tuple[str, ...]  # of backups
    to: str | None  # the alias that a restore replaces
    phase: JobPhase
    has_ended: bool
    is_lost: bool  # it gives no sign of life: its process seems to be gone
    where: str  # in words: a queue, a process, the next tick
    stage: str
    done: int  # bytes of the stage
    total: int  # bytes of the stage; 0: not known
    rate: int  # bytes per second
    seen_at: Moment  # its last sign of life
    ended_at: Moment | None
    message: str  # why it failed, or what it has done
    result: dict[str, Any]  # of a backup: names; of a restore: as backup_restore --json


def show_job(call: Call, number: str) -> JobReport:
    """Say how far the job *number* is."""
    read_query(call.request, NoQuery)
    try:
        found = read_soon(lambda: [find_board(call.project, number)], "The state of the job")[0]
    except UsageError:
        found = None
    if found is None:
        raise BackupNotFound(
            f"There is no job {number!r}: none was started, or it ended long ago or on another machine. `backup_list` "
            "and the page Runs of the admin say what was done."
        )
    return report_job(call, found[1])


def report_job(call: Call, state: JobState) -> JobReport:
    job = state.job
    return JobReport(
        id=job.id,
        address=call.request.build_absolute_uri(reverse("django_cfg_backup_api:job", args=[job.id])),
        action=job.action,
        by=job.by,
        at=job.at,
        databases=job.databases,
        names=job.names,
        to=job.restore.to if job.restore else None,
        phase=state.phase,
        has_ended=state.has_ended,
        is_lost=state.is_silent(clock.now()),
        where=state.where,
        stage=state.stage,
        done=state.done,
        total=state.total,
        rate=state.rate,
        seen_at=state.seen_at,
        ended_at=state.ended_at,
        message=redact(state.message, secrets_of(call.project)),
        result=state.result,
    )
