"""What restores leave behind: the old data that they have kept, and what those left whose process died.

The databases are asked in parallel and waited for together: one that does not answer delays the rest only once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from functools import partial
from typing import TypeVar

from pydantic import computed_field

from django_cfg.backup.engines.base import Engine
from django_cfg.backup.errors import BackupError, DatabaseUnavailable
from django_cfg.backup.process.threads import InThread
from django_cfg.backup.records import ErrorText, Moment, Record
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.project import Project, database_identity

PATIENCE = 10.0  # seconds, for all databases together
Found = TypeVar("Found")


class KeptData(Record):
    """Old data of one database, kept by a restore until somebody removes it."""

    database: str  # alias
    name: str  # a file, a database, a schema
    size: int  # bytes
    made_at: Moment
    unfinished: bool = False  # the restore was interrupted at its switch

    @property
    def age(self) -> timedelta:
        return clock.now() - self.made_at

    @computed_field  # type: ignore[prop-decorator]
    @property
    def problem(self) -> str:
        """What is wrong, and what to do; empty where nothing is."""
        if not self.unfinished:
            return ""
        return (
            f"a restore was interrupted while it switched to the new data ({self.name}): finish it with `manage.py "
            f"backup_restore --resume --to {self.database}`"
        )


class AbandonedStaging(Record):
    """What a restore of one database left when its process died."""

    database: str  # alias
    name: str  # a folder, a database, a schema


class Unreachable(Record):
    """A database that could not be asked, and why."""

    database: str
    error: ErrorText


def list_kept_data(project: Project, patience: float | None = None) -> Iterator[KeptData | Unreachable]:
    """Yield the old data that restores of every database have kept, newest first for each.

    A database that does not answer is reported with the others, not instead of them.
    """
    for alias, found in _ask_all(project, lambda engine: engine.list_kept_data(), patience):
        if isinstance(found, BackupError):
            yield Unreachable(database=alias, error=found)
            continue
        for kept in found:
            yield KeptData(
                database=alias, name=kept.name, size=kept.size, made_at=kept.made_at, unfinished=kept.is_unfinished
            )


def find_abandoned_staging(project: Project) -> Iterator[AbandonedStaging | Unreachable]:
    """Yield what restores that died have left. It is no data of the project; nothing is removed."""
    for alias, found in _ask_all(project, lambda engine: engine.sweep_staging(dry_run=True)):
        if isinstance(found, BackupError):
            yield Unreachable(database=alias, error=found)
        else:
            yield from (AbandonedStaging(database=alias, name=name) for name in found)


def sweep_abandoned_staging(project: Project, found: Iterable[AbandonedStaging]) -> Iterator[str | Unreachable]:
    """Remove what restores of the databases of *found* have left; yields the names of what is gone."""
    for alias in dict.fromkeys(staging.database for staging in found):
        try:
            yield from project.engine(alias).sweep_staging()
        except BackupError as error:
            yield Unreachable(database=alias, error=error)


def _ask_all(
    project: Project, ask: Callable[[Engine], list[Found]], patience: float | None = None
) -> Iterator[tuple[str, list[Found] | BackupError]]:
    """Ask each database once, backed up or not, all in parallel."""
    patience = PATIENCE if patience is None else patience
    late = DatabaseUnavailable(f"it did not answer within {patience:.0f} s")
    questions = {
        alias: InThread(partial(_ask_one, project, alias, ask), name=f"backup-ask-{alias}") for alias in _once(project)
    }
    deadline = time.monotonic() + patience
    for alias, question in questions.items():
        yield alias, question.result(deadline - time.monotonic(), otherwise=late)


def _ask_one(project: Project, alias: str, ask: Callable[[Engine], list[Found]]) -> list[Found] | BackupError:
    try:
        return ask(project.engine(alias))
    except BackupError as error:
        return error
    except Exception as error:  # noqa: BLE001  whatever a driver raises: it could not be asked
        return DatabaseUnavailable(f"{type(error).__name__}: {error}")


def _once(project: Project) -> list[str]:
    once: dict[str, str] = {}
    for alias, database in project.databases.items():
        once.setdefault(database_identity(database), alias)
    return list(once.values())
