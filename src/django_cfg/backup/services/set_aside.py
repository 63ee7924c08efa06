"""What restores leave behind: old data that was set aside, and scratches of restores that died."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from django_cfg.backup.engines.base import Engine
from django_cfg.backup.errors import BackupError
from django_cfg.backup.services.project import Project, identity

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
class NotAsked:
    """A database that could not be asked, and why."""

    database: str
    error: BackupError


def list_set_aside(project: Project) -> Iterator[KeptData | NotAsked]:
    """The old data that restores of every database have kept, newest first for each.

    A database that does not answer is told beside the others, not instead of them.
    """
    for alias, found in _each(project, lambda engine: engine.set_aside()):
        if isinstance(found, BackupError):
            yield NotAsked(alias, found)
        else:
            yield from (KeptData(alias, kept.name, kept.size, kept.made_at, kept.is_unfinished) for kept in found)


def sweep_scratches(project: Project) -> Iterator[str | NotAsked]:
    """Remove the scratches of restores that died; the names of those, for a message."""
    for alias, found in _each(project, lambda engine: engine.sweep()):
        if isinstance(found, BackupError):
            yield NotAsked(alias, found)
        else:
            yield from found


def _each(project: Project, ask: Callable[[Engine], list[Found]]) -> Iterator[tuple[str, list[Found] | BackupError]]:
    """Each database once, backed up or not."""
    once: dict[str, str] = {}
    for alias, database in project.databases.items():
        once.setdefault(identity(database), alias)
    for alias in once.values():
        try:
            yield alias, ask(project.engine(alias))
        except BackupError as error:
            yield alias, error
