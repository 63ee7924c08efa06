"""A job: what somebody has asked for, and how far it is. Its state is kept outside of every database."""

from __future__ import annotations

import secrets
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from django_cfg.backup.engines.base import RestoreOptions
from django_cfg.backup.models import Run
from django_cfg.backup.records import Moment, Record
from django_cfg.backup.services.project import clock

Action = Literal["backup", "verify", "drill", "restore", "undo", "prune"]
_KINDS: dict[Action, Run.Kind] = {
    "backup": Run.Kind.BACKUP,
    "verify": Run.Kind.VERIFICATION,
    "drill": Run.Kind.VERIFICATION,
    "restore": Run.Kind.RESTORE,
    "undo": Run.Kind.RESTORE,
    "prune": Run.Kind.PRUNE,
}
LINES = 50  # that are kept of what it said


def _new_id() -> str:
    return secrets.token_hex(12)


class RestoreChoice(Record):
    """What a person has chosen for a restore."""

    to: str  # alias
    tables: tuple[str, ...] = ()
    disconnect: bool = False
    skip_failing: bool = False
    allow_unsigned: bool = False

    @property
    def options(self) -> RestoreOptions:
        return RestoreOptions(tables=self.tables, disconnect=self.disconnect, skip_failing=self.skip_failing)


class Job(Record):
    """What is to be done. It holds no secret."""

    id: str = Field(default_factory=_new_id, pattern=r"^[0-9a-f]{24}$")
    action: Action
    by: str  # the user
    at: Moment = Field(default_factory=lambda: clock.now())  # looked up each time: tests stop the clock
    databases: tuple[str, ...] = ()  # aliases, of a backup; empty: all
    names: tuple[str, ...] = ()  # of backups; of a prune: those that were shown as due
    note: str = ""
    restore: RestoreChoice | None = None
    undo: tuple[str, str] | None = None  # alias, and the name of the old data

    @property
    def kind(self) -> Run.Kind:
        """Of the run that the history keeps of it."""
        return _KINDS[self.action]

    def __str__(self) -> str:
        """Say what it does, as a title."""
        what = ", ".join(self.names) or ", ".join(self.databases)
        match self.action:
            case "backup":
                return f"Backup of {what or 'all databases'}"
            case "verify":
                return f"Verification of {what}"
            case "drill":
                return f"Drill of {what}"
            case "restore":
                return f"Restore of {what}" + (f" into {self.restore.to}" if self.restore else "")
            case "undo":
                return f"Undoing the restore of {self.undo[0]}" if self.undo else "Undoing a restore"
        return "Prune"


class JobPhase(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobState(Record):
    """How far a job is."""

    job: Job
    phase: JobPhase = JobPhase.WAITING
    where: str = ""  # in words: a queue, a process, the next tick
    queue: str = ""  # of RQ; empty: none
    task: str = ""  # the id of its result on the task backend; empty: none
    row: int | None = None  # of the history, where it waits for a tick
    may_wait: bool = False  # for a worker or a tick, for as long as that takes
    stage: str = ""
    done: int = 0  # bytes of the stage
    total: int = 0  # bytes of the stage; 0: not known
    rate: int = 0  # bytes per second
    lines: tuple[str, ...] = ()  # what it has said
    seen_at: Moment  # its last sign of life
    ended_at: Moment | None = None
    message: str = ""  # why it failed, or what it has done
    result: dict[str, Any] = Field(default_factory=dict)  # of a restore: old_data, to, advice

    @property
    def has_ended(self) -> bool:
        return self.phase not in (JobPhase.WAITING, JobPhase.RUNNING)

    def is_silent(self, now: datetime) -> bool:
        """Return True if it runs, or should have begun, and has given no sign of life for too long."""
        may_be_silent = self.has_ended or (self.phase is JobPhase.WAITING and self.may_wait)
        return not may_be_silent and (now - self.seen_at).total_seconds() > SILENCE

    def ended(self, phase: JobPhase, message: str) -> JobState:
        """Return the state of a job that did not record its end itself."""
        now = clock.now()
        return self.model_copy(update={"phase": phase, "message": message, "seen_at": now, "ended_at": now})


SILENCE = 60.0  # seconds
