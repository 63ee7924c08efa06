"""Sanitised copies: what changes restored data in the staging database, before it may take the place of the old.

Which restores need one, in this order:

1. ``--unsanitized``: none runs.
2. ``--sanitize``: that one.
3. ``BackupConfig.sanitizers`` has one for the target, and the backup is of another source: that one. A backup of the
   target itself comes back as it is, unless it was adopted in an environment that is not production: nothing says
   whose data that is.
4. A backup of production, in an environment that is not production: refused.
"""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import DatabaseError, connections
from django.db.utils import load_backend
from django.utils.module_loading import import_string

from django_cfg.backup.engines.base import Preflight, Restoration, RestoreOptions
from django_cfg.backup.engines.connection_settings import complete_settings
from django_cfg.backup.errors import BackupError, ConfigurationError, RestoreFailed, RestoreRefused, UsageError
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.project.progress import Progress
from django_cfg.backup.services.project.project import Project

ALIAS = "django_cfg_backup_staging"  # of the staging database, for the time and the thread of the sanitizer
_PRODUCTION = "production"
_COMMENT = re.compile(r"(--|#)[^\n]*|/\*(?!!).*?\*/", re.DOTALL)
_RUN_NOTHING = (inspect.isclass, inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
_CHANGE_NOTHING = ("SELECT", "SET ", "BEGIN", "SAVEPOINT", "RELEASE ", "ROLLBACK", "COMMIT")
_LOOK_EVERY = 100_000  # steps of SQLite's machine


@dataclass(frozen=True)
class Sanitizer:
    """A callable of the project, or a file of SQL."""

    name: str  # as it was given
    run: Callable[[Any], None]  # takes Django's connection to the staging database
    is_script: bool
    file: str = ""  # where the code of a callable is


@dataclass(frozen=True)
class SanitizeChoice:
    """What a person asks for in one restore."""

    sanitize: str | None = None  # a dotted path, or the path of a file of SQL
    unsanitized: bool = False


AS_CONFIGURED = SanitizeChoice()


def choose_sanitizer(
    project: Project,
    manifest: Manifest,
    target: str,
    options: RestoreOptions,
    preflight: Preflight,
    choice: SanitizeChoice = AS_CONFIGURED,
) -> Sanitizer | None:
    """Return what has to run before *manifest* replaces the database *target*; None: nothing.

    :raises RestoreRefused: production data would come to another environment, or there is no staging database.
    :raises UsageError: what was asked for cannot be used.
    :raises ConfigurationError: what is configured cannot be used.
    """
    if choice.unsanitized:
        if choice.sanitize:
            raise UsageError("--sanitize and --unsanitized contradict each other: give one of them. Nothing was done.")
        return None
    if choice.sanitize:
        sanitizer = _load(project, choice.sanitize, "--sanitize", UsageError)
    elif _may_be_foreign(project, manifest, target) and target in project.config.sanitizers:
        setting = f"BackupConfig.sanitizers[{target!r}]"
        sanitizer = _load(project, project.config.sanitizers[target], setting, ConfigurationError)
    else:
        _refuse_production_data(project, manifest, target)
        return None
    _require_staging(sanitizer, options, preflight)
    return sanitizer


def sanitize_restored_data(
    sanitizer: Sanitizer | None, restoration: Restoration, alias: str, progress: Progress
) -> None:
    """Let *sanitizer* change the staging database; None: leave it as it was backed up.

    :raises RestoreFailed: it failed; the database *alias* is as it was. The message holds nothing of a row.
    """
    if sanitizer is None:
        return
    settings = restoration.sanitizer_settings
    if settings is None:
        raise RestoreRefused(
            f"The sanitizer {sanitizer.name} cannot run: this restore has no scratch database that a connection can "
            f"reach. The database {alias!r} is as it was."
        )
    progress.say(f"{alias}: sanitising the restored data with {sanitizer.name}")
    failure = ""
    changed: list[str] = []
    try:
        with _connected(settings) as connection, _others_unchanged(changed):
            sanitizer.run(connection)
            _commit(connection)
    except Exception as error:  # noqa: BLE001  the code is the project's
        failure = f"{type(error).__name__}{_describe(error, sanitizer, restoration)}"
    if changed:
        failure = (
            f"it sent the database {changed[0]!r} a statement that may change it, which was refused. Every query has "
            "to name the scratch database, as in `User.objects.using(connection.alias)`"
        )
    if failure:  # outside of the block: what was raised may quote a row, and a log prints causes
        raise RestoreFailed(
            f"The sanitizer {sanitizer.name} failed: {failure}. The database {alias!r} is as it was, and nothing of "
            "the backup is left. Correct the sanitizer, and restore again."
        )
    restoration.finish_sanitizing()


def _may_be_foreign(project: Project, manifest: Manifest, target: str) -> bool:
    return manifest.source != project.source(target) or (manifest.adopted is not None and project.env != _PRODUCTION)


def _refuse_production_data(project: Project, manifest: Manifest, target: str) -> None:
    if manifest.source.env != _PRODUCTION or project.env == _PRODUCTION:
        return
    raise RestoreRefused(
        f"{manifest.name} is a backup of {manifest.source}, and this is {project.name}/{project.env}: production data "
        "would be in the database as it is. Name what removes personal data from it: --sanitize PATH, or "
        f"BackupConfig.sanitizers[{target!r}] in the settings. If the data may be here unchanged: --unsanitized. "
        "Nothing was touched."
    )


def _require_staging(sanitizer: Sanitizer, options: RestoreOptions, preflight: Preflight) -> None:
    start = f"The sanitizer {sanitizer.name} runs in a scratch database, on all of the backup."
    if options.tables:
        raise RestoreRefused(
            f"{start} --tables takes some tables into the database as it is. Restore all of it into another database "
            "(--to), or give --unsanitized. Nothing was touched."
        )
    if not preflight.uses_staging:
        raise RestoreRefused(
            f"{start} This restore has none: it goes into the database itself. Leave out --in-place, or let a user "
            "that may create databases restore (BackupDatabaseConfig.connection); or give --unsanitized. Nothing was "
            "touched."
        )


def _load(project: Project, name: str, given_by: str, error_class: type[BackupError]) -> Sanitizer:
    """Import or read what *name* names, before anything is restored."""
    try:
        if name.lower().endswith(".sql"):
            text = ((project.base_dir or Path.cwd()) / name).read_text(encoding="utf-8")
            return _read_script(name, text, given_by, error_class)
        found = import_string(name)
    except BackupError:
        raise
    except OSError as error:
        text = f"{given_by} names {name}, which cannot be read: {error.strerror}. Nothing was touched."
        raise error_class(text) from error
    except Exception as error:
        raise error_class(
            f"{given_by} names {name}, which cannot be used: {type(error).__name__}: {error}. It is the dotted path of "
            "a callable, or the path of a .sql file (relative to BASE_DIR). Nothing was touched."
        ) from error
    if not callable(found):
        raise error_class(f"{given_by} names {name}, which is not callable. Nothing was touched.")
    if any(runs_nothing(found) for runs_nothing in _RUN_NOTHING):
        raise error_class(
            f"{given_by} names {name}, which does nothing when it is called: it is a class, a generator or "
            "asynchronous. Name a plain function that takes the connection. Nothing was touched."
        )
    return Sanitizer(name, found, is_script=False, file=getattr(getattr(found, "__code__", None), "co_filename", ""))


def _read_script(name: str, text: str, given_by: str, error_class: type[BackupError]) -> Sanitizer:
    if not re.search(r"\w", _COMMENT.sub("", text)):
        raise error_class(f"{given_by} names {name}, which has no statement. Nothing was touched.")
    return Sanitizer(name, lambda connection: _run_script(connection, text), is_script=True)


def _run_script(connection: Any, text: str) -> None:
    """Run SQL as ``RunSQL`` of a migration does; SQLite itself splits its scripts."""
    if connection.vendor == "sqlite":
        connection.ensure_connection()
        with connection.wrap_database_errors:
            connection.connection.executescript(text)
        return
    with connection.cursor() as cursor:
        for statement in connection.ops.prepare_sql_script(text):
            cursor.execute(statement, params=None)


@contextmanager
def _connected(settings: Any) -> Iterator[Any]:
    """A connection to the staging database; in this thread it is ``connections[ALIAS]``, so that models can use it."""
    settings = {"ATOMIC_REQUESTS": False, **complete_settings(settings), "CONN_MAX_AGE": 0}
    settings["OPTIONS"] = {key: value for key, value in settings.get("OPTIONS", {}).items() if key != "pool"}
    connection = load_backend(settings["ENGINE"]).DatabaseWrapper(settings, ALIAS)
    connections[ALIAS] = connection
    try:
        if connection.vendor == "sqlite":  # a signal is seen by Python code alone: else no query could be interrupted
            connection.ensure_connection()
            connection.connection.set_progress_handler(lambda: 0, _LOOK_EVERY)
        yield connection
    finally:
        connection.close()
        del connections[ALIAS]


@contextmanager
def _others_unchanged(changed: list[str]) -> Iterator[None]:
    """Refuse what would change another database by this thread, as a query of models without ``using`` does.

    :param changed: gets the aliases of those, also where the sanitizer has swallowed the error.
    """

    def refuse(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if str(sql).lstrip("( \n\t").upper().startswith(_CHANGE_NOTHING):
            return execute(sql, params, many, context)
        changed.append(context["connection"].alias)
        raise PermissionError(f"A sanitizer may not change the database {changed[-1]!r}.")

    with ExitStack() as stack:
        for alias in connections:
            with suppress(Exception):  # what cannot be opened cannot be changed
                stack.enter_context(connections[alias].execute_wrapper(refuse))
        yield


def _commit(connection: Any) -> None:
    """Commit what a script or a callable has begun itself: closing would undo it, and the data would not be sanitised.

    The query fails in a transaction that PostgreSQL has aborted, which COMMIT would silently roll back.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchall()
        if connection.vendor == "sqlite":
            connection.connection.commit()
        else:
            cursor.execute("COMMIT")


def _describe(error: Exception, sanitizer: Sanitizer, restoration: Restoration) -> str:
    """Say what failed in a script; of a callable, which may put rows into what it raises, only the line."""
    if sanitizer.is_script:
        text = restoration.describe_sanitizer_error(error) if isinstance(error, DatabaseError) else ""
        return text and f": {text}"
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == sanitizer.file]
    return f" (line {own[-1].lineno} of {Path(sanitizer.file).name})" if own else ""
