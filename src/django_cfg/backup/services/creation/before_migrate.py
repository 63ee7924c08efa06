"""A backup of a database before its migrations run: what ``migrate`` is about to do, and whether it counts."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import FrameType

from django.core.management.commands import migrate
from django.db.backends.base.creation import BaseDatabaseCreation
from django.db.migrations import Migration
from django.test import utils

from django_cfg.backup.errors import CopyFailed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.creation.create import create_in
from django_cfg.backup.services.project.progress import SILENT, Progress
from django_cfg.backup.services.project.project import Project, current_project, database_identity, operation

Plan = Sequence[tuple[Migration, bool]]  # migrations in their order, and whether each is unapplied


@dataclass(frozen=True)
class BeforeMigrate:
    """What was done before the migrations of a database."""

    alias: str
    manifest: Manifest | None = None  # None: *reason* says why there is no backup
    reason: str = ""
    warning: str = ""  # of a backup that is made, and missing in some place


@operation()
def back_up_before_migrate(using: str, plan: Plan, progress: Progress = SILENT) -> BeforeMigrate:
    """Back up the database that *using* names, since *plan* is about to change it.

    :raises BackupError: it failed; no migration may run.
    """
    project = current_project()
    alias = _backed_up_alias(project, using)
    if alias is None:
        return BeforeMigrate(using, reason="it is not enabled for backups")
    if project.engine(alias).is_empty():
        return BeforeMigrate(alias, reason="it has no table yet, so there is nothing to lose")
    try:
        note = describe_plan(plan)
        manifest = create_in(project, alias, trigger="before-migrate", note=note, progress=progress)
    except CopyFailed as error:
        return BeforeMigrate(alias, error.manifest, warning=str(error))
    return BeforeMigrate(alias, manifest)


def is_wanted() -> bool:
    """Whether the configuration asks for a backup before each ``migrate``.

    :raises ConfigurationError: it cannot be read.
    """
    config = current_project().config
    return config.enabled and config.before_migrate == "pending"


def describe_plan(plan: Plan) -> str:
    """Return before which migration a backup is made, for its note."""
    migration, is_backwards = plan[0]
    others = len(plan) - 1
    more = f" and {others} more" if others else ""
    first = f"{migration.app_label}.{migration.name}"
    return f"before {'taking back ' if is_backwards else ''}{first}{more}"


def changes_real_data() -> bool:
    """Whether the ``migrate`` that is running changes tables, of a database that is not a test's. In doubt it does.

    Neither ``--fake`` nor the test runner is among the arguments of ``pre_migrate``, so the calling frames are asked.
    """
    if hasattr(utils._TestState, "saved_data"):  # setup_test_environment has run
        return False
    return not any(_is_faked(frame) or _makes_test_database(frame) for frame in _callers())


def _callers() -> Iterator[FrameType]:
    frame = inspect.currentframe()
    while frame:
        yield frame
        frame = frame.f_back


def _is_faked(frame: FrameType) -> bool:
    if frame.f_code.co_filename != migrate.__file__ or frame.f_code.co_name != "handle":
        return False
    options = frame.f_locals.get("options") or {}
    return bool(options.get("fake"))


def _makes_test_database(frame: FrameType) -> bool:
    is_named_so = frame.f_code.co_name == "create_test_db"
    return is_named_so and isinstance(frame.f_locals.get("self"), BaseDatabaseCreation)


def _backed_up_alias(project: Project, using: str) -> str | None:
    """The alias under which the database of *using* is backed up; None: it is not."""
    if using not in project.databases:
        return None
    identity = database_identity(project.database(using))
    same = [alias for alias in project.aliases() if database_identity(project.database(alias)) == identity]
    return same[0] if same else None
