"""The history of restores, and what is told of them."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import takewhile

from django.db.models import QuerySet
from django.utils import timezone

from django_cfg.backup import signals
from django_cfg.backup.engines.base import SwitchResult
from django_cfg.backup.manifest import Manifest, Source
from django_cfg.backup.models import RestoreRun
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.runs import history_database
from django_cfg.backup.services.runs.file_lock import holder_lives, is_of_an_earlier_boot

KIND = "restore"  # of the lock that one restore of a database holds at a time
_RUNNING, _SUCCEEDED, _FAILED = RestoreRun.State.RUNNING, RestoreRun.State.SUCCEEDED, RestoreRun.State.FAILED
_OUT_OF_SIGHT = timedelta(days=7)  # after which one on another machine, of which nothing is heard, is given up
_ENDED_SILENTLY = (
    "Its process is gone, and has not said how it ended: it was killed, or the machine was restarted. The database is "
    "wholly as it was or wholly restored; if not, the next restore says so, and names `backup_restore --resume`."
)


class RecordedRestore:
    """The row of one restore, and its signals."""

    def __init__(
        self, target: Source, manifest: Manifest, tables: tuple[str, ...], lock_file: str, *, in_target: bool
    ) -> None:
        self._manifest = manifest
        self._begun = time.monotonic()
        self._seconds = 0.0
        self._switched: SwitchResult | None = None
        self._row = RestoreRun(
            project=target.project,
            env=target.env,
            database=target.database,
            name=manifest.name,
            tables=", ".join(tables),
            host=socket.gethostname(),
            lock_file=lock_file,
            started_at=timezone.now(),
        )
        # a history in the target itself is written at the end: until then the target is left alone
        self._is_written = in_target or history_database.save(self._row)

    @property
    def row_id(self) -> int | None:
        """Of the row in the history; None while it is not there."""
        return self._row.pk

    def switched(self, switched: SwitchResult) -> float:
        """The data is back, whatever comes now; the seconds it took."""
        self._switched, self._seconds = switched, time.monotonic() - self._begun
        return self._seconds

    def ended(self, error: BaseException | None) -> None:
        """Keep and tell how it ended; *error* counts for nothing once the data is back."""
        if self._switched:
            self._succeeded(self._switched)
        elif error:
            self._failed(" ".join((str(error) or type(error).__name__, *getattr(error, "__notes__", ()))))

    def _succeeded(self, switched: SwitchResult) -> None:
        self._finish(_SUCCEEDED, old_data=switched.old_data or "")
        _tell_success(self._row, self._manifest, self._seconds)

    def _failed(self, message: str) -> None:
        self._finish(_FAILED, message=message)
        signals.tell(
            signals.restore_failed,
            RestoreRun,
            manifest=self._manifest,
            database=self._row.database,
            message=message,
        )

    def _finish(self, state: RestoreRun.State, old_data: str = "", message: str = "") -> None:
        _end(self._row, state, old_data, message)
        if self._is_written:
            history_database.save(self._row)


@contextmanager
def recorded(
    target: Source, manifest: Manifest, tables: tuple[str, ...], lock_file: str, *, in_target: bool
) -> Iterator[RecordedRestore]:
    """A block that restores; how it fails is kept and told.

    :param lock_file: what this process has locked for as long as it restores.
    :param in_target: the history lives in the database that is restored.
    """
    record = RecordedRestore(target, manifest, tables, lock_file, in_target=in_target)
    try:
        yield record
    except BaseException as error:
        record.ended(error)
        raise
    record.ended(None)


def unfinished(target: Source) -> RestoreRun | None:
    """The interrupted restore of *target*, where the history knows beyond doubt which it was."""
    rows: list[RestoreRun] = []
    with history_database.attempted("look for the interrupted restore") as is_possible:
        if is_possible:
            rows += takewhile(lambda row: row.state != _SUCCEEDED, _rows().filter(**target.model_dump()))
    candidates = [row for row in rows if row.state == _RUNNING or "--resume" in row.message]
    return candidates[-1] if len({(row.name, row.tables) for row in candidates}) == 1 else None


def resumed(target: Source, row: RestoreRun | None, manifest: Manifest | None, switched: SwitchResult) -> None:
    """Keep and tell that a restore was finished by another process than it was begun by.

    :param row: what the history knows of it; None: nothing.
    """
    now = timezone.now()
    row = row or RestoreRun(**target.model_dump(), host=socket.gethostname(), started_at=now)
    _end(row, _SUCCEEDED, switched.old_data or "", "")
    history_database.save(row)
    _tell_success(row, manifest, (now - row.started_at).total_seconds())


def bury_the_dead(project: Project, mine: str = "", living: int | None = None) -> None:
    """Fail the rows of restores whose process is gone, as far as that can be known from here.

    :param mine: the lock file that this process holds: whoever held it before is gone.
    :param living: the row of this process.
    """
    with history_database.attempted("look after restores that died") as is_possible:
        if is_possible:
            running = _rows().filter(project=project.name, env=project.env, state=_RUNNING).exclude(pk=living or 0)
            for row in [row for row in running if not _is_alive(project, row, mine)]:
                values = {"state": _FAILED, "finished_at": timezone.now(), "message": _ENDED_SILENTLY}
                history_database.patiently(lambda row=row, values=values: running.filter(pk=row.pk).update(**values))  # type: ignore[misc]


def _is_alive(project: Project, row: RestoreRun, mine: str) -> bool:
    if mine and row.lock_file == mine:
        return False
    lives = holder_lives(project, _source_of(row), row.lock_file, KIND)
    if lives is not None:
        return lives
    return not is_of_an_earlier_boot(row.lock_file, row.host) and timezone.now() - row.started_at < _OUT_OF_SIGHT


def _rows() -> QuerySet[RestoreRun]:
    return RestoreRun.objects.using(history_database.home())


def _source_of(row: RestoreRun) -> Source:
    return Source(project=row.project, env=row.env, database=row.database)


def _end(row: RestoreRun, state: RestoreRun.State, old_data: str, message: str) -> None:
    row.state, row.old_data, row.message, row.finished_at = state, old_data, message, timezone.now()


def _tell_success(row: RestoreRun, manifest: Manifest | None, seconds: float) -> None:
    signals.tell(
        signals.restore_succeeded,
        RestoreRun,
        manifest=manifest,
        database=row.database,
        old_data=row.old_data or None,
        seconds=seconds,
    )
