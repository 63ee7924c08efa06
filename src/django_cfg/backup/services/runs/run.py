"""The history row of one run. It is written as well as possible: no run fails because its history did."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from typing import Any, Self

from django_cfg.backup.errors import Cancelled
from django_cfg.backup.formatting import printable
from django_cfg.backup.manifest import Source
from django_cfg.backup.models import Run
from django_cfg.backup.process.deferred_signals import CancelRequested, defer_signals
from django_cfg.backup.process.redaction import redact
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.actor import current_actor
from django_cfg.backup.services.project.progress import SILENT, LiveProgress, Progress
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.project.secrets import secrets_of
from django_cfg.backup.services.runs import lease
from django_cfg.backup.services.runs.file_lock import source_lock
from django_cfg.backup.services.runs.heartbeat import heartbeats
from django_cfg.backup.services.runs.history_database import attempted, history_alias, required, retry_while_locked

Ended = Callable[[BaseException | None], None]


def failure_reason(error: BaseException) -> str:
    """Return why a run failed, for the person who has to fix it."""
    text = " ".join((str(error) or type(error).__name__, *getattr(error, "__notes__", ())))
    if type(error).__name__ == "JobTimeoutException":  # of rq, which need not be installed; in a job of one's own
        return f"It reached the time limit of the queue and was ended ({text}). If it needs longer, raise that limit."
    return text


class RecordedRun:
    """One run and its row.

    A first write that fails is logged, and the later ones are left out. Given a *claim*, the row that a tick has
    written for a slot, that row is started, or nothing is.

    :param progress: to be replaced by the attribute of that name, which keeps what the history shows of a running run.
    :param cancellable: somebody may cancel it.
    :param in_target: the history is in the database that a restore replaces: the row is written at the end only.
    :param ended: called once the row is finished, with the error; None: the run has succeeded. A cancelled run is no
        failure: nothing is called.
    """

    def __init__(
        self,
        project: Project,
        source: Source,
        kind: Run.Kind,
        *,
        progress: Progress = SILENT,
        trigger: str = "manual",
        claim: Run | None = None,
        in_target: bool = False,
        cancellable: bool = True,
        ended: Ended = lambda error: None,
        **facts: Any,
    ) -> None:
        self._project, self._claim, self._in_target, self._ended = project, claim, in_target, ended
        self._deferred = defer_signals(cancellable=cancellable)
        self._deferred.allows_cancelling = lambda: self.can_be_cancelled()
        self.progress = LiveProgress(progress, self._deferred)
        self.lock_file = ""  # that this process has locked for as long as the run goes on
        if trigger != "scheduled":
            facts["started_by"] = current_actor()
        self._row = claim or Run(**source.model_dump(), kind=kind, trigger=trigger, **facts)
        self._is_begun = False
        self._is_settled = False
        self._is_written = False
        self._success: dict[str, Any] | None = None
        self.can_be_cancelled: Callable[[], bool] = lambda: True  # False while the target is neither old nor new

    @property
    def row_id(self) -> int | None:
        return self._row.pk

    @property
    def slot(self) -> datetime | None:
        slot: datetime | None = self._row.slot
        return slot

    @contextmanager
    def recorded(self) -> Iterator[Self]:
        """A block that is the run; how it ends is written to the row, then passed to *ended*.

        Signals are deferred in it, except where it is :meth:`interruptible`: a row that was begun is finished, too.

        :raises AlreadyRunning: a run of this source is going on, or the claim is no longer waiting.
        :raises HistoryUnavailable: the claim cannot be started.
        :raises Cancelled: somebody has cancelled the run.
        """
        with self._deferred, self._locked() as self.lock_file:
            try:
                self._begin()
                with heartbeats(self.row_id, self.progress, self.cancel):
                    yield self
            except BaseException as error:
                request = self._request_behind(error)
                self._end(request or error)
                if request is None:
                    raise
                text = f"The {self._row.kind} of {self._row.source} was cancelled by {request.by}."
                raise Cancelled(text, *getattr(error, "__notes__", ())) from error
            self._end(None)

    def interruptible(self) -> AbstractContextManager[None]:
        """A part of the run in which signals arrive as usual."""
        return self._deferred.allowed()

    def _locked(self) -> AbstractContextManager[str]:
        """The lock of the source; a prune has none, which two processes may do at the same time."""
        row = self._row
        return nullcontext("") if row.kind == Run.Kind.PRUNE else source_lock(self._project, row.source, row.kind)

    def _request_behind(self, error: BaseException) -> CancelRequested | None:
        """Return the request to end that has led to *error*, if one has; a step that it ended may have failed."""
        if isinstance(error, CancelRequested):
            return error
        by = self._deferred.cancelled_by
        is_behind = by and isinstance(error, Exception) and self._success is None and self.can_be_cancelled()
        return CancelRequested(by) if is_behind else None

    def cancel(self, by: str) -> None:
        """End the run, from another thread."""
        self._deferred.cancel(by)

    def set_name(self, name: str) -> None:
        """Write the name of the backup."""
        self._row.name = name
        self._save()

    def succeed(self, **values: Any) -> None:
        """Note that the run has succeeded, even if a later step fails; *values* are written at its end."""
        self._success = values

    def postpone(self) -> None:
        """Let the claim wait again, as if it had not begun."""
        begun = ("started_at", "heartbeat_at", "lease")
        self._write(**dict.fromkeys(begun), state=Run.State.QUEUED, name="")
        self._is_settled = True

    def forget(self) -> None:
        """Delete the row: there was nothing to do."""
        retry_while_locked(self._row.delete)
        self._is_settled = True

    def _begin(self) -> None:
        if self._claim is not None:
            with required(f"start the scheduled {self._claim.kind} of {self._claim.source}"):
                lease.start(self._project, self._claim, self.lock_file)
        elif self._in_target:
            self._row.host, self._row.lock_file = socket.gethostname(), self.lock_file
            self._row.started_at = clock.now()
        else:
            with attempted("write the history of this run") as is_possible:
                if is_possible:
                    lease.begin(self._project, self._row, self.lock_file)
        self._is_begun = True
        self._is_written = self._in_target or self._row.pk is not None

    def _end(self, error: BaseException | None) -> None:
        """Write the end. A run that has succeeded stays so, whatever failed afterwards."""
        if not self._is_begun or self._is_settled:
            return
        if error is not None and self._success is None:
            is_cancelled = isinstance(error, CancelRequested)
            state = Run.State.CANCELLED if is_cancelled else Run.State.FAILED
            why = redact(failure_reason(error), secrets_of(self._project))  # of a library, it may name anything
            message = printable(why, keep_lines=True)  # no database takes all characters
            self._write(state=state, message=message, finished_at=clock.now(), lease=None)
            if not is_cancelled:
                self._ended(error)
            return
        values = self._success or {}
        self._write(**values, state=Run.State.SUCCEEDED, finished_at=clock.now(), lease=None)
        self._ended(None)

    def _write(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self._row, name, value)
        self._save()

    def _save(self) -> None:
        if not self._is_written:
            return
        with attempted("write the history of this run") as is_possible:
            if is_possible:
                retry_while_locked(lambda: self._row.save(using=history_alias()))
