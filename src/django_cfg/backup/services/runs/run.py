"""The row of one run: written as well as it can be. A backup never fails because its history did."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django_cfg.backup.manifest import Manifest, Source, Trigger
from django_cfg.backup.models import BackupRun
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.runs import lease
from django_cfg.backup.services.runs.history_database import attempted, patiently, required


def reason(error: BaseException) -> str:
    """Why a run failed, for whoever has to mend it."""
    told = str(error) or type(error).__name__
    if type(error).__name__ == "JobTimeoutException":  # of rq, which need not be installed
        return f"{told}. If the backup needs longer, raise BackupScheduleConfig.job_timeout."
    return told


class RecordedRun:
    """A first step that cannot be saved is logged, and the later ones are left out.

    Given a *claim*, the row that a tick has written for a slot, that one is started, or nothing is.

    :raises AlreadyRunning: a run of this source is going on, or the claim waits no more.
    :raises HistoryUnavailable: the claim cannot be started.
    """

    def __init__(
        self,
        project: Project,
        source: Source,
        trigger: Trigger,
        lock_file: str = "",
        claim: BackupRun | None = None,
    ) -> None:
        self.published: Manifest | None = None  # from then on it has succeeded, whatever comes after
        self._given_up = False
        self._row = claim or BackupRun(**source.model_dump(), trigger=trigger)
        if claim is not None:
            with required(f"start the scheduled {claim.kind} of {source}"):
                lease.start(project, claim, lock_file)
            return
        with attempted("write the history of this run") as is_possible:
            if is_possible:
                lease.begin(project, self._row, lock_file)
        self._given_up = self._row.pk is None

    @property
    def row_id(self) -> int | None:
        return self._row.pk

    @property
    def slot(self) -> datetime | None:
        slot: datetime | None = self._row.slot
        return slot

    def named(self, name: str) -> None:
        self._row.name = name
        self._save()

    def succeeded(self, manifest: Manifest) -> None:
        self._finish(BackupRun.State.SUCCEEDED, name=manifest.name, size=manifest.archive.size)

    def failed(self, error: BaseException) -> None:
        self._finish(BackupRun.State.FAILED, message=reason(error))

    def postponed(self) -> None:
        """It waits again, as if it had not begun."""
        begun = ("started_at", "heartbeat_at", "lease")
        for name, value in {**dict.fromkeys(begun), "state": BackupRun.State.QUEUED, "name": ""}.items():
            setattr(self._row, name, value)
        self._save()

    def _finish(self, state: BackupRun.State, **values: Any) -> None:
        for name, value in {**values, "state": state, "finished_at": clock.now(), "lease": None}.items():
            setattr(self._row, name, value)
        self._save()

    def _save(self) -> None:
        if self._given_up:
            return
        with attempted("write the history of this run") as is_possible:
            if is_possible:
                patiently(self._row.save)
