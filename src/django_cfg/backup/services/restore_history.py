"""The history of restores, and what is told of them."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.utils import timezone

from django_cfg.backup import signals
from django_cfg.backup.engines.base import Switched
from django_cfg.backup.manifest import Manifest, Source
from django_cfg.backup.models import RestoreRun
from django_cfg.backup.services import history


class RecordedRestore:
    """The row of one restore, and its signals."""

    def __init__(self, target: Source, manifest: Manifest, tables: tuple[str, ...], *, in_target: bool) -> None:
        self._manifest = manifest
        self._begun = time.monotonic()
        self._seconds = 0.0
        self._switched: Switched | None = None
        self._row = RestoreRun(
            project=target.project,
            env=target.env,
            database=target.database,
            name=manifest.name,
            tables=", ".join(tables),
            host=socket.gethostname(),
            started_at=timezone.now(),
        )
        # a history in the target itself is written at the end: until then the target is left alone
        self._is_written = in_target or history.save(self._row)

    def switched(self, switched: Switched) -> float:
        """The data is back, whatever comes now; the seconds it took."""
        self._switched, self._seconds = switched, time.monotonic() - self._begun
        return self._seconds

    def ended(self, error: BaseException | None) -> None:
        """Keep and tell how it ended; *error* counts for nothing once the data is back."""
        if self._switched:
            self._succeeded(self._switched)
        elif error:
            self._failed(" ".join((str(error) or type(error).__name__, *getattr(error, "__notes__", ()))))

    def _succeeded(self, switched: Switched) -> None:
        self._finish(RestoreRun.State.SUCCEEDED, old_data=switched.old_data or "")
        signals.tell(
            signals.restore_succeeded,
            RestoreRun,
            manifest=self._manifest,
            database=self._row.database,
            old_data=switched.old_data,
            seconds=self._seconds,
        )

    def _failed(self, message: str) -> None:
        self._finish(RestoreRun.State.FAILED, message=message)
        signals.tell(
            signals.restore_failed,
            RestoreRun,
            manifest=self._manifest,
            database=self._row.database,
            message=message,
        )

    def _finish(self, state: RestoreRun.State, old_data: str = "", message: str = "") -> None:
        row = self._row
        row.state, row.old_data, row.message, row.finished_at = state, old_data, message, timezone.now()
        if self._is_written:
            history.save(row)


@contextmanager
def recorded(
    target: Source, manifest: Manifest, tables: tuple[str, ...], *, in_target: bool
) -> Iterator[RecordedRestore]:
    """A block that restores; how it fails is kept and told.

    :param in_target: the history lives in the database that is restored.
    """
    record = RecordedRestore(target, manifest, tables, in_target=in_target)
    try:
        yield record
    except BaseException as error:
        record.ended(error)
        raise
    record.ended(None)
