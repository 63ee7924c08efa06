"""Making backups: dump, pack, publish the archive, then the manifest, then tell."""

from __future__ import annotations

import logging
import platform
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version

import django

from django_cfg.backup import signals
from django_cfg.backup.engines.base import DumpReport, Engine, Selection
from django_cfg.backup.errors import BackupError, DumpFailed, NameTaken, SomeFailed
from django_cfg.backup.manifest import SUFFIX as MANIFEST_SUFFIX
from django_cfg.backup.manifest import Archive, Manifest, Source, Trigger
from django_cfg.backup.models import BackupRun
from django_cfg.backup.pipeline.archive import Packed, pack
from django_cfg.backup.pipeline.compression import SUFFIX
from django_cfg.backup.pipeline.encryption.encrypt import Encryptor, encrypting
from django_cfg.backup.services.catalog.naming import free_name, render
from django_cfg.backup.services.creation.restore_command import restore_command
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.progress import SILENT, Progress, flowing
from django_cfg.backup.services.project.project import Project, current_project, require_enabled
from django_cfg.backup.services.project.storage_advice import refuse_served_folder
from django_cfg.backup.services.retention.prune import prune_after_backup
from django_cfg.backup.services.runs.file_lock import source_lock
from django_cfg.backup.services.runs.heartbeat import beating
from django_cfg.backup.services.runs.run import RecordedRun, reason
from django_cfg.backup.storage.base import Storage

_log = logging.getLogger("django_cfg.backup")


@dataclass(frozen=True)
class Failure:
    """A database that could not be backed up, and why."""

    database: str
    error: BackupError


def create_backup(
    alias: str = "default",
    *,
    trigger: Trigger = "manual",
    note: str = "",
    progress: Progress = SILENT,
    claim: BackupRun | None = None,
) -> Manifest:
    """Back up the database *alias*; then prune what its retention does not keep.

    :param claim: the row of the slot that this run serves.
    :returns: the manifest of the published backup.
    :raises AlreadyRunning: another backup of this database is being made, or the claim is another's now.
    :raises BackupError: it failed; nothing was published.
    """
    return create_in(current_project(), alias, trigger=trigger, note=note, progress=progress, claim=claim)


def create_in(
    project: Project,
    alias: str,
    *,
    trigger: Trigger,
    note: str,
    progress: Progress,
    claim: BackupRun | None = None,
) -> Manifest:
    """As :func:`create_backup`, in *project*."""
    require_ready(project)
    project.database(alias)
    source = project.source(alias)
    with (
        source_lock(project, source) as lock_file,
        _recorded(project, source, trigger, lock_file, claim) as run,
        encrypting(project.config.encryption_key) as encryptor,
    ):
        manifest = _Attempt(project, alias, trigger, note, progress, encryptor).carry_out(run)
    prune_after_backup(project, manifest, progress)
    return manifest


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
            yield create_backup(alias, note=note, progress=progress)
        except BackupError as error:
            yield Failure(alias, error)
        except Exception as error:  # noqa: BLE001  one database must not keep the others from being backed up
            _log.exception("The backup of %r failed in a way nobody has foreseen", alias)
            yield Failure(alias, DumpFailed(f"The backup of {alias!r} failed unexpectedly: {error!r}"))


def verdict(results: list[Manifest | Failure]) -> BackupError | None:
    """What a run over several databases comes to: nothing, its one error, or SomeFailed."""
    failures = [result for result in results if isinstance(result, Failure)]
    if not failures:
        return None
    if len(results) == 1:
        return failures[0].error
    told = "\n".join(f"{failure.database}: {failure.error}" for failure in failures)
    summary = f"{len(failures)} of {len(results)} databases were not backed up:\n{told}"
    return BackupError(summary) if len(failures) == len(results) else SomeFailed(summary)


def require_ready(project: Project) -> None:
    """
    :raises BackupError: the settings do not allow a backup.
    """
    require_enabled(project.config)
    refuse_served_folder(project)


def selection_of(project: Project, alias: str) -> Selection:
    """What the configuration chooses of the database *alias*."""
    config = project.config.for_database(alias)
    return Selection(tuple(config.include_tables), tuple(config.exclude_tables), tuple(config.extra_options))


@contextmanager
def _recorded(
    project: Project, source: Source, trigger: Trigger, lock_file: str, claim: BackupRun | None
) -> Iterator[RecordedRun]:
    """Keep the history of what happens in the block, and tell how it ended to whoever listens."""
    run = RecordedRun(project, source, trigger, lock_file, claim)
    try:
        signals.tell(signals.backup_started, BackupRun, source=source, trigger=trigger)
        with beating(run.row_id):
            yield run
    except BaseException as error:
        _ended(run, source, error)
        raise
    _ended(run, source)


def _ended(run: RecordedRun, source: Source, error: BaseException | None = None) -> None:
    """What was published is a success, whatever came after."""
    if run.published:
        run.succeeded(run.published)
        signals.tell(signals.backup_succeeded, BackupRun, manifest=run.published)
    elif error:
        run.failed(error)
        signals.tell(signals.backup_failed, BackupRun, source=source, message=reason(error))


class _Attempt:
    """One run: what stays the same from its first step to its last."""

    def __init__(
        self, project: Project, alias: str, trigger: Trigger, note: str, progress: Progress, encryptor: Encryptor
    ) -> None:
        self._project = project
        self._source = project.source(alias)
        self._trigger = trigger
        self._note = note.encode(errors="replace").decode()  # a shell may hand over what is no text
        self._progress = progress
        self._compression = project.config.compression
        self._encryptor = encryptor
        self._started_at = _now()

    def carry_out(self, run: RecordedRun) -> Manifest:
        alias = self._source.database
        engine, storage = self._project.engine(alias), self._project.storage
        name = self._free_name(storage)
        run.named(name)
        self._warn(self._encryptor.warnings)
        self._progress.say(f"{alias}: reading the {engine.name} database")
        key = f"{name}.{engine.format}{SUFFIX[self._compression]}{self._encryptor.suffix}"
        archive, report = self._publish_archive(engine, storage, key)
        with _archive_withdrawn_on_error(storage, key, f"{name}{MANIFEST_SUFFIX}", run):
            manifest = self._manifest(engine, name, archive, report, run.slot)
            storage.write(manifest.key, manifest.to_json())  # the last step, which makes the archive a backup
            run.published = manifest
        self._warn(report.warnings)
        return manifest

    def _warn(self, warnings: Iterable[str]) -> None:
        for warning in warnings:
            _log.warning("%s: %s", self._source, warning)
            self._progress.say(f"{self._source.database}: warning: {warning}")

    def _free_name(self, storage: Storage) -> str:
        project = self._project
        template = project.config.filename_template
        wanted = render(
            template,
            database=self._source.database,
            env=project.env,
            started_at=self._started_at,
            zone=project.zone,
        )
        return free_name(storage, wanted)

    def _publish_archive(self, engine: Engine, storage: Storage, key: str) -> tuple[Archive, DumpReport]:
        """One pass from the database to the storage; the archive appears only if all of it went well."""
        selection = selection_of(self._project, self._source.database)
        with engine.dump(selection) as dump, storage.publish(key, expected_size=dump.expected_size) as sink:
            with flowing(self._progress, f"{self._source.database}: storing", dump.expected_size) as advance:
                packed = pack(dump.stream, sink, self._compression, advance, self._encryptor)
            if packed.raw.size == 0:
                raise DumpFailed(f"The dump of {self._source.database!r} is empty. Nothing was published.")
            return _archive(key, packed), dump.report()

    def _manifest(
        self, engine: Engine, name: str, archive: Archive, report: DumpReport, slot: datetime | None
    ) -> Manifest:
        return Manifest(
            name=name,
            source=self._source,
            host=socket.gethostname(),
            trigger=self._trigger,
            slot=slot,
            partial=bool(self._project.config.for_database(self._source.database).include_tables),
            started_at=self._started_at,
            finished_at=_now(),
            archive=archive,
            compression=self._compression,
            encryption=self._encryptor.facts,
            engine=report.engine,
            tables=report.tables,
            excluded=report.excluded,
            migrations=dict(report.migrations),
            packages=_packages(),
            note=self._note,
            restore_hint=restore_command(engine, archive.key, self._compression, self._encryptor.facts),
        )


@contextmanager
def _archive_withdrawn_on_error(storage: Storage, key: str, manifest_key: str, run: RecordedRun) -> Iterator[None]:
    """No archive stays without its manifest; one whose manifest is there is a backup and stays."""
    try:
        yield
    except NameTaken:  # the manifest's name: it is another backup's
        if not _is_archive_of(storage, key, manifest_key):
            storage.delete(key)
        raise
    except BaseException:
        if storage.stat(manifest_key) is None:
            storage.delete(key)
        elif _is_archive_of(storage, key, manifest_key):  # interrupted when it had been written
            run.published = Manifest.from_json(storage.read(manifest_key), manifest_key)
        raise


def _is_archive_of(storage: Storage, key: str, manifest_key: str) -> bool:
    """Whether another's manifest names the archive *key*: in a bucket two uploads may end as one object."""
    return Manifest.from_json(storage.read(manifest_key), manifest_key).archive_key == key


def _archive(key: str, packed: Packed) -> Archive:
    return Archive(
        key=key.rpartition("/")[2],
        size=packed.stored.size,
        sha256=packed.stored.sha256,
        raw_size=packed.raw.size,
        raw_sha256=packed.raw.sha256,
    )


def _packages() -> dict[str, str]:
    return {
        "django-cfg-backup": version("django-cfg-backup"),
        "django": django.get_version(),
        "python": platform.python_version(),
    }


def _now() -> datetime:
    return clock.now()
