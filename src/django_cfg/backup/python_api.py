"""The functions of the Python API that join several services; ``django_cfg.backup`` exports all.

They take names, and return records. None of them asks or prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from django_cfg.backup.engines.base import Finding
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.encryption.decryption_keys import NO_KEY, DecryptionKey, decryption_keys
from django_cfg.backup.services.catalog.catalog import LATEST, find_backup
from django_cfg.backup.services.catalog.download import download_chosen
from django_cfg.backup.services.catalog.places import read_places
from django_cfg.backup.services.copies import copy
from django_cfg.backup.services.creation import batch, create
from django_cfg.backup.services.monitoring.preflight import run_preflight
from django_cfg.backup.services.monitoring.status import StatusReport, read_status
from django_cfg.backup.services.project.progress import SILENT, Progress
from django_cfg.backup.services.project.project import Project, current_project
from django_cfg.backup.services.project.subject import note_subject, public
from django_cfg.backup.services.retention import delete, pins
from django_cfg.backup.services.schedule.queues import check_queues


@public
def create_backup(database: str = "default", *, note: str = "", progress: Progress = SILENT) -> Manifest:
    """Back up one database; then delete what its retention does not keep.

    :param database: alias in ``settings.DATABASES``.
    :param note: a remark that is kept with the backup; at most 10,000 characters.
    :param progress: is called while it goes on.
    :returns: the record of the backup; its ``name`` is what the other functions take.
    :raises AlreadyRunning: another backup of this database is being made.
    :raises CopyFailed: the backup is made, and missing in a place where it is required; its name is in ``backup``.
    :raises BackupError: it failed; nothing was published.
    """
    return create.create_backup(database, note=note, progress=progress)


@public
def create_backups(databases: Sequence[str] = (), *, note: str = "", progress: Progress = SILENT) -> list[Manifest]:
    """Back up several databases, each on its own: one that fails does not keep the others from being backed up.

    :param databases: aliases; empty: all that are enabled.
    :param note: a remark that is kept with each backup; at most 10,000 characters.
    :param progress: is called while it goes on.
    :returns: the records of the backups; empty where no database is enabled.
    :raises SomeFailed: some failed: ``made`` has the names of the backups that are made, ``errors`` the error of each
        alias.
    :raises AllFailed: all of several failed.
    :raises BackupError: the one database failed.
    """
    if isinstance(databases, str):
        databases = (databases,)
    results = list(batch.create_backups(databases, note=note, progress=progress))
    if error := batch.batch_error(results):
        raise error
    return [result for result in results if isinstance(result, Manifest)]


@public
def get_backup(name: str = LATEST, *, database: str | None = None) -> Manifest:
    """Return the record of one backup.

    :param name: a backup's name, an unambiguous beginning of it, or ``latest``.
    :param database: the alias whose backups *name* is looked for among.
    :raises BackupNotFound: there is none.
    :raises UsageError: the beginning fits several backups; or ``latest`` of several databases.
    :raises StorageError: the storage cannot be read.
    """
    return _find(current_project(), name, database)


@public
def download_backup(
    name: str,
    folder: str | PathLike[str],
    *,
    database: str | None = None,
    plain: bool = False,
    from_place: str | None = None,
    decryption_key: DecryptionKey = NO_KEY,
    progress: Progress = SILENT,
) -> Path:
    """Copy a backup out of its storage, compared with its digest on the way. The folder is made if it is missing.

    :param name: a backup's name, an unambiguous beginning of it, or ``latest``.
    :param folder: where to put the archive, and the manifest next to it; nothing in it is overwritten.
    :param database: the alias whose backups *name* is looked for among.
    :param plain: only the dump, decrypted and decompressed.
    :param from_place: the name of the place to read; None: the first one that has it intact.
    :param decryption_key: what opens an encrypted backup in addition to the configuration; for *plain*.
    :param progress: is called while it goes on.
    :returns: the file.
    :raises VerificationFailed: the bytes are not those that were stored; the folder has no file of it.
    :raises StorageError: the folder has a file of that name, or a place cannot be read.
    """
    project = current_project()
    catalog = read_places(project, from_place)
    manifest = find_backup(catalog, project, name, database)
    keys, target = decryption_keys(project.config, decryption_key), Path(folder).absolute()
    return download_chosen(project, catalog, manifest, target, plain=plain, progress=progress, keys=keys)


@public
def delete_backup(name: str, *, database: str | None = None, force: bool = False) -> str:
    """Delete one backup for good, in every place, without asking.

    :param name: a backup's name, an unambiguous beginning of it, or ``latest``; of a damaged backup or one of another
        project the full name.
    :param database: the alias whose backups *name* is looked for among.
    :param force: also the newest backup of a database, the newest proved one, and a pinned one.
    :returns: the full name of the backup that is deleted.
    :raises UsageError: it is protected, and *force* is not set.
    :raises StorageError: a place cannot be read, so that nothing was deleted; or the storage has refused.
    """
    project = current_project()
    catalog = read_places(project)
    chosen = delete.choose_backup(catalog, project, name, database)
    note_subject(backup=chosen.name)
    if isinstance(chosen, Manifest) and not force:
        delete.require_unprotected(catalog, chosen)
    delete.delete_chosen(project, catalog, chosen)
    return chosen.name


@public
def pin_backup(name: str, *, database: str | None = None, why: str = "") -> Manifest:
    """Pin a backup: no rule deletes it until it is unpinned. A backup that is pinned already keeps its first pin.

    :param name: a backup's name, an unambiguous beginning of it, or ``latest``.
    :param database: the alias whose backups *name* is looked for among.
    :param why: a remark that is kept with the pin.
    :returns: the record of the backup.
    :raises BackupNotFound: there is none, or it was deleted in this moment.
    :raises StorageError: a place cannot be written; in the others it is pinned.
    """
    project = current_project()
    manifest = _find(project, name, database)
    pins.pin_backup(project, manifest, why)
    return manifest


@public
def unpin_backup(name: str, *, database: str | None = None) -> Manifest:
    """Remove the pin of a backup; nothing happens if it has none.

    :param name: a backup's name, an unambiguous beginning of it, or ``latest``.
    :param database: the alias whose backups *name* is looked for among.
    :returns: the record of the backup.
    :raises StorageError: a place cannot be written; there it is still pinned.
    """
    project = current_project()
    manifest = _find(project, name, database)
    pins.unpin_backup(project, manifest)
    return manifest


@public
def copy_backup(
    name: str,
    to: str | None = None,
    *,
    database: str | None = None,
    replace_damaged: bool = False,
    progress: Progress = SILENT,
) -> list[copy.CopyOutcome]:
    """Copy a backup to the places where it is missing, compared with its manifest on the way.

    :param name: a backup's name, an unambiguous beginning of it, or ``latest``.
    :param to: the name of the one place: ``main``, or that of a copy; None: all.
    :param database: the alias whose backups *name* is looked for among.
    :param replace_damaged: delete what a place has of the backup that is damaged there, and put a good copy there.
    :param progress: is called while it goes on.
    :returns: each copy that was made; empty where nothing was missing.
    :raises UsageError: there is only one place, or none of this name.
    :raises SomeFailed: some were not made: ``made`` and ``errors`` name the places.
    :raises AllFailed: none of several was made.
    """
    project = current_project()
    copy.require_places(project)
    targets = [project.place(to)] if to is not None else project.places
    catalog = read_places(project)
    manifest = find_backup(catalog, project, name, database)
    outcomes = copy.copy_to_places(project, catalog, manifest, targets, progress, replace_damaged=replace_damaged)
    if error := copy.copies_error(outcomes):
        raise error
    return outcomes


@public
def backup_status() -> StatusReport:
    """Return how the backups of each database are doing: from the storage, also when the databases are down.

    It raises no error for what is unhealthy: see ``healthy`` and ``problems``.

    :raises StorageError: no place can be read.
    """
    project = current_project()
    return read_status(project, read_places(project))


@public
def check_backups() -> list[Finding]:
    """Check all that a backup needs, without making one: by writing to the storage and connecting, within 25 seconds.

    :returns: what was found, each with its ``level``; a level of ``FAILED`` means that backups will fail.
    :raises ConfigurationError: ``settings.BACKUP`` cannot be used.
    """
    project = current_project()
    return list(run_preflight(project, {"queue": lambda: check_queues(project)}))


def _find(project: Project, name: str, database: str | None) -> Manifest:
    return find_backup(read_places(project), project, name, database)
