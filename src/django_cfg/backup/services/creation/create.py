"""Making one backup: dump, pack, publish the archive, then the manifest, then prune."""

from __future__ import annotations

import logging
import platform
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version

import django

from django_cfg.backup import signals
from django_cfg.backup.engines.base import DumpReport, Engine, Selection
from django_cfg.backup.errors import BackupError, CopyFailed, DumpFailed, NameTaken, StorageError, UsageError
from django_cfg.backup.manifest import MAX_NOTE, Archive, Manifest, Source, Trigger
from django_cfg.backup.models import Run
from django_cfg.backup.pipeline.archive import Packed
from django_cfg.backup.pipeline.compression import SUFFIX, require_library
from django_cfg.backup.pipeline.encryption.encrypt import UNENCRYPTED, Encryptor, open_encryptor
from django_cfg.backup.policy.health import size_warning
from django_cfg.backup.services.catalog.catalog import Catalog
from django_cfg.backup.services.catalog.naming import render_name
from django_cfg.backup.services.catalog.places import read_places
from django_cfg.backup.services.copies.copy import send_complete, send_failed, write_manifest
from django_cfg.backup.services.creation.restore_command import restore_command
from django_cfg.backup.services.creation.stall import stalls_reported
from django_cfg.backup.services.creation.store import store_dump
from django_cfg.backup.services.creation.targets import Targets
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.places import Place
from django_cfg.backup.services.project.progress import SILENT, Progress, byte_progress
from django_cfg.backup.services.project.project import Project, current_project, operation, require_enabled
from django_cfg.backup.services.project.storage_advice import refuse_served_folder
from django_cfg.backup.services.retention.prune import prune_after_backup
from django_cfg.backup.services.runs.run import RecordedRun, failure_reason
from django_cfg.backup.storage.base import Storage

_log = logging.getLogger("django_cfg.backup")


@operation()
def create_backup(
    database: str = "default",
    *,
    trigger: Trigger = "manual",
    note: str = "",
    progress: Progress = SILENT,
    claim: Run | None = None,
) -> Manifest:
    """Back up the database of the alias *database*; then prune what its retention does not keep.

    :param claim: the row of the slot that this run serves.
    :returns: the manifest of the published backup.
    :raises AlreadyRunning: another backup of this database is being made, or the claim is another's now.
    :raises CopyFailed: the backup is made, and missing in a place that is required.
    :raises BackupError: it failed; nothing was published.
    """
    return create_in(current_project(), database, trigger=trigger, note=note, progress=progress, claim=claim)


def create_in(
    project: Project, alias: str, *, trigger: Trigger, note: str, progress: Progress, claim: Run | None = None
) -> Manifest:
    """Like :func:`create_backup`, in *project*."""
    require_ready(project)
    project.database(alias)
    source = project.source(alias)
    attempt = _BackupAttempt(project, source, trigger, note)
    run = RecordedRun(
        project, source, Run.Kind.BACKUP, progress=progress, trigger=trigger, claim=claim, ended=attempt.announce
    )
    with run.recorded(), run.interruptible():
        signals.send(signals.backup_started, source=source, trigger=trigger)
        with open_encryptor(project.config.encryption_key) as encryptor:
            manifest = attempt.carry_out(run, encryptor)
        catalog = attempt.review(manifest)
    if catalog:
        send_complete(project, catalog)
    prune_after_backup(project, manifest, catalog, progress, without={place.name for place in attempt.missing})
    attempt.raise_if_copy_failed(manifest)
    return manifest


def require_ready(project: Project) -> None:
    """
    :raises BackupError: the settings do not allow a backup.
    """
    require_enabled(project.config)
    require_library(project.config.compression)
    refuse_served_folder(project)


def selection_of(project: Project, alias: str) -> Selection:
    """What the configuration chooses of the database *alias*."""
    config = project.config.for_database(alias)
    return Selection(tuple(config.include_tables), tuple(config.exclude_tables), tuple(config.extra_options))


class _BackupAttempt:
    """One run: what stays the same from its first step to its last."""

    def __init__(self, project: Project, source: Source, trigger: Trigger, note: str) -> None:
        self._project = project
        self._source = source
        self._trigger = trigger
        self._note = note.encode(errors="replace").decode()  # a shell may pass what is no text
        if len(note) > MAX_NOTE:
            raise UsageError(f"The note has {len(note):,} characters; at most {MAX_NOTE:,} are kept in a manifest.")
        self._progress = SILENT
        self._compression = project.config.compression
        self._encryptor: Encryptor = UNENCRYPTED
        self._started_at = clock.now()
        self._published: Manifest | None = None
        self._size_warning = ""
        self.missing: dict[Place, str] = {}  # why it is missing there

    def carry_out(self, run: RecordedRun, encryptor: Encryptor) -> Manifest:
        """Dump, compress, encrypt and store; the manifest comes last."""
        alias = self._source.database
        self._started_at = clock.now()
        self._progress = run.progress
        self._encryptor = encryptor
        engine, targets = self._project.engine(alias), Targets(self._project.places)
        name = targets.free_name(self._wanted_name())
        run.set_name(name)
        self._warn(self._encryptor.warnings)
        self._progress.say(f"{alias}: reading the {engine.name} database")
        archives, report = self._publish_archives(engine, targets, f"{name}{targets.infix}")
        try:
            manifest = self._manifest(engine, name, list(archives.values()), report, run.slot)
            self._publish_manifest(targets, manifest, list(archives), run)
        finally:
            targets.withdraw()  # where no manifest came
        self._note_failures(targets, manifest, run)
        self._warn(report.warnings)
        return manifest

    def _publish_manifest(self, targets: Targets, manifest: Manifest, keys: list[str], run: RecordedRun) -> None:
        """The last step, which makes the archives a backup, in each place on its own."""
        content = manifest.to_json(self._project.config.signing_key)
        for place in targets.left:
            storage = place.storage
            with targets.dropping(place), self._archives_withdrawn_on_error(targets, place, keys, manifest.key, run):
                write_manifest(storage, manifest.key, content)
                targets.keep(place)
                self._succeed(run, manifest)

    def _note_failures(self, targets: Targets, manifest: Manifest, run: RecordedRun) -> None:
        """Note where the backup is missing; those places are made up for later."""
        self.missing = {
            place: failure_reason(targets.failures[place.name])
            for place in self._project.places
            if place.name in targets.failures
        }
        if self.missing:
            text = " ".join(f"Not stored in {place.name}: {why}" for place, why in self.missing.items())
            run.succeed(name=manifest.name, size=manifest.size, message=text)
            self._warn([text])

    def review(self, manifest: Manifest) -> Catalog | None:
        """Compare the new backup with the earlier ones, warn if it is much smaller; the catalog that was read."""
        if self._trigger == "before-restore":
            return None  # nothing is pruned now: the backup that is about to be restored may be the oldest one
        try:
            catalog = read_places(self._project)
        except BackupError as error:
            _log.warning("%s: %s", manifest.name, error)
            return None
        self._size_warning = size_warning([found for found in catalog.backups if found.source == self._source])
        self._warn([self._size_warning] if self._size_warning else [])
        return catalog

    def raise_if_copy_failed(self, manifest: Manifest) -> None:
        """
        :raises CopyFailed: it is missing in a place that is required.
        """
        failed = {place: why for place, why in self.missing.items() if place.required}
        if failed:
            raise CopyFailed(
                manifest,
                f"{manifest.name} is made, and is not in all places where it is required. The next tick makes up for "
                f"that, or `backup_copy {manifest.name}`.",
                *(f"{place}: {why}" for place, why in failed.items()),
                errors={place.name: StorageError(why) for place, why in failed.items()},
            )

    def announce(self, error: BaseException | None) -> None:
        """Send how the run ended."""
        if self._published:
            signals.send(signals.backup_succeeded, manifest=self._published, warning=self._size_warning)
            for place, why in self.missing.items():
                send_failed(self._published, place, why)
        elif error:
            signals.send(signals.backup_failed, source=self._source, message=failure_reason(error))

    def _succeed(self, run: RecordedRun, manifest: Manifest) -> None:
        self._published = manifest
        run.succeed(name=manifest.name, size=manifest.size)

    def _warn(self, warnings: Iterable[str]) -> None:
        for warning in warnings:
            _log.warning("%s: %s", self._source, warning)
            self._progress.say(f"{self._source.database}: warning: {warning}")

    def _wanted_name(self) -> str:
        project = self._project
        template = project.config.filename_template
        return render_name(
            template, database=self._source.database, env=project.env, started_at=self._started_at, zone=project.zone
        )

    def _publish_archives(self, engine: Engine, targets: Targets, start: str) -> tuple[dict[str, Archive], DumpReport]:
        """One pass from the database to the places; the archives appear only if all of it went well.

        :param start: what their keys begin with.
        :returns: the archives by their keys, in the order in which they are loaded.
        """
        selection = selection_of(self._project, self._source.database)
        suffix = f".{engine.format}{SUFFIX[self._compression]}{self._encryptor.suffix}"
        with engine.dump(selection) as dump:
            others = range(1, len(dump.row_streams) + 1)
            keys = [f"{start}{suffix}", *(f"{start}.rows{number}{suffix}" for number in others)]
            with store_dump(dump, targets, keys, self._compression, self._encryptor) as store:
                with (
                    byte_progress(self._progress, f"{self._source.database}: storing", dump.expected_size) as advance,
                    stalls_reported(self._source, advance) as moved,
                ):
                    packed = store(moved)
                if any(each.raw.size == 0 for each in packed):
                    raise DumpFailed(f"The dump of {self._source.database!r} is empty. Nothing was published.")
                archives = {key: describe_archive(key, each) for key, each in zip(keys, packed, strict=True)}
                return archives, dump.report()

    def _manifest(
        self, engine: Engine, name: str, archives: Sequence[Archive], report: DumpReport, slot: datetime | None
    ) -> Manifest:
        keys = [archive.key for archive in archives]
        return Manifest(
            name=name,
            source=self._source,
            host=socket.gethostname(),
            trigger=self._trigger,
            slot=slot,
            partial=bool(self._project.config.for_database(self._source.database).include_tables),
            started_at=self._started_at,
            finished_at=clock.now(),
            archive=archives[0],
            row_archives=tuple(archives[1:]),
            compression=self._compression,
            encryption=self._encryptor.facts,
            engine=report.engine,
            tables=report.tables,
            excluded=report.excluded,
            migrations=dict(report.migrations),
            packages=_packages(),
            note=self._note,
            restore_hint=restore_command(engine, keys, self._compression, self._encryptor.facts),
        )

    @contextmanager
    def _archives_withdrawn_on_error(
        self, targets: Targets, place: Place, keys: Sequence[str], manifest_key: str, run: RecordedRun
    ) -> Iterator[None]:
        """Leave no archive without its manifest; an archive whose manifest is stored is a backup and stays."""
        storage = place.storage
        try:
            yield
        except BaseException as error:
            is_backup = True  # as long as that is not known
            try:
                if isinstance(error, NameTaken):  # the manifest's name: it is another backup's
                    is_backup = are_archives_of(storage, keys, manifest_key)
                else:
                    is_backup = storage.stat(manifest_key) is not None
                    if is_backup and are_archives_of(storage, keys, manifest_key):  # interrupted when it was written
                        self._succeed(run, Manifest.from_json(storage.read(manifest_key), manifest_key))
            finally:
                if is_backup:
                    targets.keep(place)
            raise


def are_archives_of(storage: Storage, keys: Sequence[str], manifest_key: str) -> bool:
    """Whether another's manifest names one of the archives *keys*: in a bucket two uploads may end as one object."""
    named = Manifest.from_json(storage.read(manifest_key), manifest_key).archive_keys
    return not set(named).isdisjoint(keys)


def describe_archive(key: str, packed: Packed) -> Archive:
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
