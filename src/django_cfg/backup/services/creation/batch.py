"""Backing up several databases, each on its own."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence

from django_cfg.backup.errors import AllFailed, BackupError, CopyFailed, DumpFailed, SomeFailed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.records import ErrorText, Record
from django_cfg.backup.services.creation.create import create_backup, require_ready
from django_cfg.backup.services.project.progress import SILENT, Progress
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.project.subject import errors_named

_log = logging.getLogger("django_cfg.backup")


class Failure(Record):
    """A database whose backup or verification failed, and why."""

    database: str
    error: ErrorText


def create_backups(
    aliases: Iterable[str] = (), *, note: str = "", progress: Progress = SILENT
) -> Iterator[Manifest | Failure]:
    """Back up several databases, each on its own; none given: every source of the project."""
    project = current_project()
    require_ready(project)
    chosen = list(dict.fromkeys(aliases))
    for alias in chosen:
        project.database(alias)
    for alias in chosen or project.aliases():
        try:
            with errors_named(alias):
                manifest = create_backup(alias, note=note, progress=progress)
            yield manifest
        except CopyFailed as error:
            yield error.manifest
            yield Failure(database=alias, error=error)
        except BackupError as error:
            yield Failure(database=alias, error=error)
        except Exception as error:  # noqa: BLE001  one database must not keep the others from being backed up
            _log.exception("The backup of %r failed unexpectedly", alias)
            failed = DumpFailed(f"The backup of {alias!r} failed unexpectedly: {error!r}")
            failed.database = alias
            yield Failure(database=alias, error=failed)


def batch_error(results: Sequence[Record]) -> BackupError | None:
    """Return the error of a run over several databases: None, its one error, AllFailed or SomeFailed.

    :param results: of a backup that is missing in some place, its manifest and a failure.
    """
    failures = [result for result in results if isinstance(result, Failure)]
    if not failures:
        return None
    failed = [failure for failure in failures if not isinstance(failure.error, CopyFailed)]
    databases = len(results) - (len(failures) - len(failed))
    if databases == 1:
        return failures[0].error
    what = f"{len(failed)} of {databases} databases were not backed up:"
    summary = what if failed else f"{len(failures)} of {databases} backups are not in all places that are required:"
    lines = [f"{failure.database}: {failure.error}" for failure in failures]
    made = [result.name for result in results if isinstance(result, Manifest)]
    errors = {failure.database: failure.error for failure in failures}
    kind = AllFailed if len(failed) == databases else SomeFailed
    return kind(summary, *lines, made=made, errors=errors)
