"""What restores leave behind: old data that was set aside, and scratches of restores that died.

The databases are asked beside each other, and waited for once: one that does not answer keeps nobody waiting for long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from django_cfg.backup.engines.base import Engine
from django_cfg.backup.errors import BackupError, DatabaseUnavailable
from django_cfg.backup.services.project.project import Project, identity

PATIENCE = 10.0  # seconds, for all databases together
Found = TypeVar("Found")


@dataclass(frozen=True)
class KeptData:
    """Old data of one database, kept by a restore until somebody removes it."""

    database: str  # alias
    name: str  # a file, a database, a schema
    size: int  # bytes
    made_at: datetime
    is_unfinished: bool

    @property
    def age(self) -> timedelta:
        return datetime.now(UTC) - self.made_at

    @property
    def problem(self) -> str:
        """What is wrong, and what to do; empty where nothing is."""
        if not self.is_unfinished:
            return ""
        return (
            f"{self.database}: a restore was interrupted while it switched to the new data ({self.name}). Finish it: "
            f"manage.py backup_restore --resume --to {self.database}"
        )


@dataclass(frozen=True)
class Scratch:
    """What a restore of one database left when it died."""

    database: str  # alias
    name: str  # a folder, a database, a schema


@dataclass(frozen=True)
class NotAsked:
    """A database that could not be asked, and why."""

    database: str
    error: BackupError


def list_set_aside(project: Project) -> Iterator[KeptData | NotAsked]:
    """The old data that restores of every database have kept, newest first for each.

    A database that does not answer is told beside the others, not instead of them.
    """
    for alias, found in _answers(project, lambda engine: engine.list_kept_data()):
        if isinstance(found, BackupError):
            yield NotAsked(alias, found)
        else:
            yield from (KeptData(alias, kept.name, kept.size, kept.made_at, kept.is_unfinished) for kept in found)


def find_scratches(project: Project) -> Iterator[Scratch | NotAsked]:
    """The scratches of restores that died; nobody's data. Nothing is removed."""
    for alias, found in _answers(project, lambda engine: engine.sweep_staging(dry_run=True)):
        if isinstance(found, BackupError):
            yield NotAsked(alias, found)
        else:
            yield from (Scratch(alias, name) for name in found)


def sweep_scratches(project: Project, found: Iterable[Scratch]) -> Iterator[str | NotAsked]:
    """Remove the scratches of the databases of those *found*; the names of what is gone."""
    for alias in dict.fromkeys(scratch.database for scratch in found):
        try:
            yield from project.engine(alias).sweep_staging()
        except BackupError as error:
            yield NotAsked(alias, error)


def _answers(project: Project, ask: Callable[[Engine], list[Found]]) -> Iterator[tuple[str, list[Found] | BackupError]]:
    """Of each database, backed up or not, once."""
    asked = {alias: _Asked(project, alias, ask) for alias in _once(project)}
    deadline = time.monotonic() + PATIENCE
    for alias, question in asked.items():
        yield alias, question.answer(deadline - time.monotonic())


def _once(project: Project) -> list[str]:
    once: dict[str, str] = {}
    for alias, database in project.databases.items():
        once.setdefault(identity(database), alias)
    return list(once.values())


class _Asked(Generic[Found]):
    """One database, asked in a thread that nobody has to wait for."""

    def __init__(self, project: Project, alias: str, ask: Callable[[Engine], list[Found]]) -> None:
        self._answer: list[Found] | BackupError = DatabaseUnavailable(f"it did not answer within {PATIENCE:.0f} s")
        self._project, self._alias, self._ask = project, alias, ask
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def answer(self, seconds: float) -> list[Found] | BackupError:
        self._thread.join(max(0, seconds))
        return self._answer

    def _look(self) -> None:
        try:
            self._answer = self._ask(self._project.engine(self._alias))
        except BackupError as error:
            self._answer = error
        except Exception as error:  # noqa: BLE001  whatever a driver raises: it could not be asked
            self._answer = DatabaseUnavailable(f"{type(error).__name__}: {error}")
