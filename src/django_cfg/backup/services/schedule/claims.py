"""Claims: one row per slot, for the ticker that writes it first. Any number of tickers may try."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import IntegrityError
from django.db.models import Max, QuerySet

from django_cfg.backup import signals
from django_cfg.backup.config.schedule import BackupScheduleConfig
from django_cfg.backup.errors import BackupError
from django_cfg.backup.manifest import Manifest, Source
from django_cfg.backup.models import Run
from django_cfg.backup.policy.retention import CLOCK_TOLERANCE, is_from_the_future
from django_cfg.backup.policy.schedule import latest_slot, slots_between
from django_cfg.backup.services.catalog.catalog import damaged_of
from django_cfg.backup.services.catalog.places import LazyCatalog
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.runs.history_database import find_runs, history_alias, retry_while_locked
from django_cfg.backup.services.runs.lease import send_failure

MOST_MISSED = 100  # rows written for one gap
_WAITING, _RUNNING = Run.State.QUEUED, Run.State.RUNNING


@dataclass(frozen=True)
class Claim:
    """Claiming the due slot of one source."""

    project: Project
    source: Source
    schedule: BackupScheduleConfig
    catalog: LazyCatalog
    kind: Run.Kind = Run.Kind.BACKUP

    def make(self) -> datetime | None:
        """Claim the latest due slot; None: nothing is due, it is done, or a run of this source has to end first.

        A run that still waits when the next slot is due serves that one instead.
        """
        runs = find_runs(self.source, self.kind)
        slot = self._due(runs, [])
        if slot is None or runs.filter(slot=slot).exists():
            return None
        backups = self.catalog.of(self.source)
        if self.kind == Run.Kind.VERIFICATION:
            there = backups or damaged_of(self.project, self.catalog.read(), self.source.database)
            missed = self._missed_before(slot, runs, [])
            if not there or self._is_going_on(runs) or not self._claim(slot, []):
                return None
            if missed:
                self._send_missed(missed)
            return slot
        slot = self._due(runs, backups)
        if slot is None:
            return None
        if any(backup.slot == slot for backup in backups):
            runs.filter(state=_WAITING, slot__lt=slot).delete()  # it came back with a restored database
            return None
        if self._is_going_on(runs):
            return None
        return slot if self._claim(slot, self._missed_before(slot, runs, backups)) else None

    def _is_going_on(self, runs: QuerySet[Run]) -> bool:
        return runs.filter(state=_RUNNING, lease=True).exists()

    def _due(self, runs: QuerySet[Run], backups: Iterable[Manifest]) -> datetime | None:
        """An interval counts from the last start, or from when a claim was given up that never came to one."""
        now = clock.now()
        given_up = runs.filter(state=Run.State.FAILED, started_at=None)
        tried = [
            runs.filter(started_at__lte=now + CLOCK_TOLERANCE).aggregate(last=Max("started_at"))["last"],
            given_up.filter(finished_at__lte=now + CLOCK_TOLERANCE).aggregate(last=Max("finished_at"))["last"],
            *(backup.started_at for backup in backups if not is_from_the_future(backup, now)),
        ]
        return latest_slot(self.schedule, self.project.zone, now, max(filter(None, tried), default=None))

    def _missed_before(self, slot: datetime, runs: QuerySet[Run], backups: Iterable[Manifest]) -> list[datetime]:
        """The slots since the last one that is known of, and the one that a waiting run serves no more."""
        waiting = [claim.slot for claim in runs.filter(state=_WAITING) if claim.slot]
        served = runs.exclude(state=_WAITING).filter(slot__lt=slot).aggregate(last=Max("slot"))["last"]
        known = [moment for moment in (served, *(backup.slot for backup in backups)) if moment and moment < slot]
        since = max(known or waiting, default=None)
        if since is None:
            return []
        between = slots_between(self.schedule, self.project.zone, since, slot, MOST_MISSED)
        return list(dict.fromkeys([*between, *waiting]))

    def _claim(self, slot: datetime, missed: list[datetime]) -> bool:
        def write() -> bool:
            claims = find_runs(self.source, self.kind).filter(state=_WAITING, request="")  # and no wish of a person
            moved = claims.update(slot=slot)
            if not moved:
                self._new(slot, _WAITING, queued_at=clock.now()).save(using=history_alias())
            find_runs().bulk_create([self._missed(moment) for moment in missed], ignore_conflicts=True)
            return True

        try:
            retry_while_locked(write)
        except IntegrityError:
            return False  # another ticker has it
        if missed:
            self._send_missed(missed)
        return True

    def _send_missed(self, slots: list[datetime]) -> None:
        signals.send(signals.slots_missed, source=self.source, kind=str(self.kind), slots=slots)

    def _new(self, slot: datetime, state: Run.State, **values: object) -> Run:
        facts = {"kind": self.kind, "slot": slot, "state": state, "trigger": "scheduled", **values}
        return Run(**self.source.model_dump(), **facts)

    def _missed(self, slot: datetime) -> Run:
        message = "No ticker or no worker ran when it was due; the next slot's backup makes up for it."
        return self._new(slot, Run.State.MISSED, finished_at=clock.now(), message=message)


def waiting_claims(project: Project) -> list[Run]:
    """The claims of the project that no run serves yet, oldest first."""
    return list(_of(project).filter(state=_WAITING, slot__isnull=False).order_by("queued_at", "pk"))


def abandon_claim(claim: Run, error: BackupError) -> None:
    """Fail a claim that never came to run, and send that; of several callers at once, one does."""
    still = find_runs().filter(pk=claim.pk, state=_WAITING)
    facts = {"state": Run.State.FAILED, "finished_at": clock.now(), "message": str(error)}
    if retry_while_locked(lambda: still.update(**facts)):
        send_failure(claim, str(error))


def _of(project: Project) -> QuerySet[Run]:
    return find_runs().filter(project=project.name, env=project.env)
