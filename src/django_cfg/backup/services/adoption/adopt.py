"""Adopting an archive: examined, restored into a staging database, copied into the storage; then it gets a manifest.

It is restored from where it was found: what opens its copy in the storage need not be on this machine.

The manifest comes last, as for any backup. Whatever is refused before leaves nothing, and the archive that was found is
never changed, overwritten or deleted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from django_cfg.backup.engines.base import Engine, Survey
from django_cfg.backup.errors import (
    BackupError,
    ClockSkew,
    EncryptionError,
    RestoreFailed,
    RestoreRefused,
    StorageError,
    VerificationFailed,
)
from django_cfg.backup.formatting import counted, listed
from django_cfg.backup.manifest import PIN_SUFFIX, Adoption, Archive, Manifest, Pin, Source, Table
from django_cfg.backup.manifest import SUFFIX as MANIFEST_SUFFIX
from django_cfg.backup.pipeline.archive import pack
from django_cfg.backup.pipeline.compression import SUFFIX
from django_cfg.backup.pipeline.encryption.decryption_keys import NO_KEY, DecryptionKey, decryption_keys
from django_cfg.backup.pipeline.encryption.encrypt import SUFFIX as ENCRYPTED
from django_cfg.backup.pipeline.encryption.encrypt import open_encryptor
from django_cfg.backup.pipeline.encryption.keyring import DecryptionKeys
from django_cfg.backup.pipeline.stream import OnProgress, Readable
from django_cfg.backup.records import Record
from django_cfg.backup.services.adoption.examine import Examined, examine, unwrap
from django_cfg.backup.services.adoption.origin import ObjectOrigin, Origin, find_origin
from django_cfg.backup.services.adoption.taken_at import TakenAt, find_time
from django_cfg.backup.services.catalog.catalog import Catalog, is_manifest, read_catalog
from django_cfg.backup.services.catalog.naming import ARCHIVE_KEY, free_name, name_pattern, render_name
from django_cfg.backup.services.copies.copy import write_manifest
from django_cfg.backup.services.creation.create import are_archives_of, describe_archive, require_ready
from django_cfg.backup.services.creation.restore_command import restore_command
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.actor import current_actor
from django_cfg.backup.services.project.progress import SILENT, Progress, byte_progress
from django_cfg.backup.services.project.project import Project, current_project
from django_cfg.backup.services.project.subject import public
from django_cfg.backup.services.retention.prune import decide_retention
from django_cfg.backup.services.verification.drill import drill_target, require_drillable, survey
from django_cfg.backup.storage.base import Storage

_WHY_PINNED = "adopted; the retention would have deleted it at the next backup"


class AdoptionResult(Record):
    """What became of an archive that was to be adopted."""

    manifest: Manifest
    already: bool = False  # it had a manifest before; nothing was done
    pinned: bool = False  # since the retention would delete it
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class AdoptionPlan:
    """An archive that can be adopted; nothing has been written so far."""

    project: Project
    origin: Origin
    source: Source
    taken: TakenAt
    examined: Examined
    name: str  # of the backup
    key: str  # of the archive; empty: a copy is stored
    keys: DecryptionKeys = field(repr=False)

    @property
    def target(self) -> str:
        """The alias of the database next to which it is restored."""
        return drill_target(self.project, self.source)

    @property
    def provisional(self) -> Manifest:
        """The manifest before the rows are counted, of the archive as it was found."""
        examined = self.examined
        archive = Archive(
            key=PurePosixPath(self.key or f"{self.name}.{examined.dump.engine.format}").name,
            size=examined.stored.size,
            sha256=examined.stored.sha256,
            raw_size=examined.raw.size,
            raw_sha256=examined.raw.sha256,
        )
        return Manifest(
            name=self.name,
            source=self.source,
            host="",
            trigger="manual",
            started_at=self.taken.at,
            finished_at=self.taken.at,
            archive=archive,
            compression=examined.form.compression,
            encryption=examined.form.encryption,
            engine=examined.dump.engine,
            tables=(),
            restore_hint="",
            adopted=Adoption(
                name=self.origin.name,
                size=examined.stored.size,
                sha256=examined.stored.sha256,
                at=clock.now(),
                time_from=self.taken.known_from,
            ),
        )


@public
def adopt_backup(
    origin: str,
    database: str,
    *,
    taken_at: str | None = None,
    decryption_key: DecryptionKey = NO_KEY,
    progress: Progress = SILENT,
) -> AdoptionResult:
    """Make a backup of *database* of an archive that another program made, or whose manifest is lost.

    :param origin: the path of a file, or the key of an object in the storage.
    :param database: the alias of the database that it is a dump of.
    :param taken_at: when it was made, in ISO 8601, in TIME_ZONE unless it has an offset; None: its name or age says.
    :param decryption_key: what opens an encrypted archive in addition to the configuration.
    :param progress: is called while it goes on.
    :returns: the record of the backup, and whether there was one of this archive before.
    :raises UsageError: there is no such archive, or the time is none or in the future.
    :raises RestoreRefused: no restore could load it.
    :raises VerificationFailed: it is damaged, or was restored and is not usable.
    :raises BackupError: nothing was learned of it: no server, no permission, no space, no key.
    """
    planned = plan_adoption(origin, database, taken_at=taken_at, decryption_key=decryption_key, progress=progress)
    return adopt(planned, progress) if isinstance(planned, AdoptionPlan) else planned


def plan_adoption(
    origin: str,
    alias: str,
    *,
    taken_at: str | None = None,
    decryption_key: DecryptionKey = NO_KEY,
    progress: Progress = SILENT,
) -> AdoptionPlan | AdoptionResult:
    """Like :func:`adopt_backup`, up to the point where the storage or a server would be written to.

    :returns: a result if the archive is that of a backup already.
    """
    project = current_project()
    require_ready(project)
    engine = project.engine(alias)
    found = find_origin(project, origin)
    taken = find_time(found, taken_at, project.zone)
    catalog = read_catalog(project.storage, project.signing_keys)
    if known := _find_named(catalog, found):
        return AdoptionResult(manifest=known, already=True)
    _refuse_parts(project.storage, found)
    keys = decryption_keys(project.config, decryption_key)
    with _as_refusal(found), byte_progress(progress, f"{found.name}: examining", found.size) as advance:
        examined = examine(found, engine, alias, project.config.tools_dir, keys, advance)
    if known := _find_same(catalog, project.source(alias), examined):
        return AdoptionResult(manifest=known, already=True)
    name, key = _choose_name(project, alias, engine, found, taken, examined)
    if not key and examined.form.encryption.method != "none" and project.config.encryption_key is None:
        raise EncryptionError(
            f"{found.name} is encrypted, and its copy in the storage would not be: set BackupConfig.encryption_key, so "
            "that it is encrypted as all backups are; or decrypt it yourself, and adopt that. Nothing was stored."
        )
    planned = AdoptionPlan(project, found, project.source(alias), taken, examined, name, key, keys)
    with _as_refusal(found):
        require_drillable(project, planned.provisional)
    return planned


def adopt(planned: AdoptionPlan, progress: Progress = SILENT) -> AdoptionResult:
    """Carry out *planned*.

    :raises VerificationFailed: it was restored and is not usable, or has changed since it was examined.
    :raises BackupError: something else failed; nothing is left in the storage.
    """
    project, storage = planned.project, planned.project.storage
    with _as_refusal(planned.origin), _withdrawn_on_error(planned) as made:
        found, skipped = _survey(planned, progress)
        stored = planned.provisional if planned.key else _store_copy(planned, made, progress)
        manifest = _complete(planned, stored, found)
        catalog = read_catalog(storage, project.signing_keys)
        is_pinned = _is_due(project, catalog, manifest)
        if is_pinned:
            made.append(f"{manifest.name}{PIN_SUFFIX}")
            storage.write(made[-1], Pin(by=current_actor(), at=clock.now(), why=_WHY_PINNED).to_json())
        # The last step, which makes the archive a backup.
        write_manifest(storage, manifest.key, manifest.to_json(project.config.signing_key))
    return AdoptionResult(
        manifest=manifest, pinned=is_pinned, warnings=tuple(_list_warnings(catalog, manifest, skipped))
    )


def _find_named(catalog: Catalog, origin: Origin) -> Manifest | None:
    """The backup whose manifest names the object.

    :raises StorageError: the object belongs to a backup without being its archive, or its manifest is damaged.
    """
    if not isinstance(origin, ObjectOrigin):
        return None
    if is_manifest(origin.key) or origin.key.endswith(".json"):
        raise StorageError(f"{origin.name} is no archive: objects that end in .json are this package's own notes.")
    for damaged in catalog.damaged:
        if origin.key.startswith(f"{damaged.name}."):
            raise StorageError(
                f"{origin.name} has a manifest, which is damaged: {damaged.error} It is not replaced. Move it out of "
                "the storage if the archive is to be adopted again."
            )
    return next((manifest for manifest in catalog.backups if origin.key in manifest.archive_keys), None)


def _find_same(catalog: Catalog, source: Source, examined: Examined) -> Manifest | None:
    """The backup of the same bytes."""
    digest = examined.stored.sha256
    return next(
        (
            manifest
            for manifest in catalog.backups
            if manifest.source == source
            and (digest == manifest.digest or (manifest.adopted and manifest.adopted.sha256 == digest))
        ),
        None,
    )


def _refuse_parts(storage: Storage, origin: Origin) -> None:
    """Of a dump by several workers the manifest alone says which archives belong together."""
    found = ARCHIVE_KEY.fullmatch(origin.key if isinstance(origin, ObjectOrigin) else origin.name)
    if not found:
        return
    others = f"{found['name']}{found['infix'] or ''}.rows"
    is_divided = isinstance(origin, ObjectOrigin) and any(other.key.startswith(others) for other in storage.list())
    if found["rows"] or is_divided:
        raise RestoreRefused(
            f"{origin.name} is a part of a dump by several programs (dump_jobs), whose manifest is lost: the rows of "
            "some tables are in the others. docs/restore-by-hand.md says how to load them together; then back that "
            "database up with backup_create."
        )


def _choose_name(
    project: Project, alias: str, engine: Engine, origin: Origin, taken: TakenAt, examined: Examined
) -> tuple[str, str]:
    """Return the name of the backup, and the key of the archive if it stays in its place."""
    template, storage = project.config.filename_template, project.storage
    if isinstance(origin, ObjectOrigin) and (match := ARCHIVE_KEY.fullmatch(origin.key)):
        form = examined.form
        suffix = f".{engine.format}{SUFFIX[form.compression]}{ENCRYPTED if form.encryption.method != 'none' else ''}"
        fits = name_pattern(template, env=project.env, database=alias).fullmatch(match["name"])
        is_free = storage.stat(f"{match['name']}{MANIFEST_SUFFIX}") is None
        if fits and is_free and origin.key == f"{match['name']}{match['infix'] or ''}{suffix}":
            return match["name"], origin.key
    wanted = render_name(template, database=alias, env=project.env, started_at=taken.at, zone=project.zone)
    return free_name(storage.is_taken, wanted), ""


def _store_copy(planned: AdoptionPlan, made: list[str], progress: Progress) -> Manifest:
    """Copy the archive into the storage as this project's own are stored; return the manifest as far as it is known."""
    project, storage, examined = planned.project, planned.project.storage, planned.examined
    compression, engine = project.config.compression, project.engine(planned.source.database)
    with open_encryptor(project.config.encryption_key) as encryptor:
        suffix = f".{engine.format}{SUFFIX[compression]}{encryptor.suffix}"
        key = f"{planned.name}{storage.new_infix()}{suffix}"
        with (
            byte_progress(progress, f"{planned.origin.name}: storing", planned.origin.size) as advance,
            storage.publish(key, expected_size=examined.raw.size) as sink,
            unwrap(planned.origin, planned.keys, advance, examined.checkpoints) as unwrapped,
        ):
            packed = pack(unwrapped.plain, sink, compression, None, encryptor)
        made.append(key)
        return planned.provisional.model_copy(
            update={"archive": describe_archive(key, packed), "compression": compression, "encryption": encryptor.facts}
        )


def _survey(planned: AdoptionPlan, progress: Progress) -> tuple[Survey, Sequence[str]]:
    """Restore the archive into a staging database; return what it holds, and what was left out.

    :raises VerificationFailed: it holds no row, or has changed since it was examined.
    """
    origin = planned.origin
    with byte_progress(progress, f"{origin.name}: restoring into a scratch", origin.size) as advance:
        plain = _plain(planned, advance)
        found, skipped = survey(planned.project, planned.provisional, plain, progress)
    if not any(found.rows.values()):
        raise VerificationFailed(
            f"it was restored, and holds {len(found.rows)} tables and not one row: it was made without data."
        )
    return found, skipped


@contextmanager
def _plain(planned: AdoptionPlan, advance: OnProgress) -> Iterator[Readable]:
    with unwrap(planned.origin, planned.keys, advance, planned.examined.checkpoints) as unwrapped:
        yield unwrapped.plain


def _complete(planned: AdoptionPlan, stored: Manifest, found: Survey) -> Manifest:
    """Return the manifest *stored* with what was *found* in the staging database."""
    filled = planned.examined.dump.filled
    engine = planned.project.engine(planned.source.database)
    manifest = stored.model_copy(
        update={
            "tables": tuple(Table(name=name, rows=rows, exact=True) for name, rows in found.rows.items()),
            "excluded": tuple(name for name in found.rows if filled is not None and name not in filled),
            "migrations": dict(found.migrations),
            "restore_hint": restore_command(engine, [stored.archive.key], stored.compression, stored.encryption),
        }
    )
    return Manifest.model_validate(manifest.model_dump(by_alias=True))


def _is_due(project: Project, catalog: Catalog, manifest: Manifest) -> bool:
    """Whether the prune after the next backup would delete *manifest*, and with it an archive that was kept so far."""
    if not project.config.retention.enabled:
        return False
    following = manifest.model_copy(update={"name": f"{manifest.name} and the next", "started_at": clock.now()})
    backups = sorted(
        (*catalog.backups, manifest, following), key=lambda each: (each.started_at, each.name), reverse=True
    )
    try:
        decided = decide_retention(project, replace(catalog, backups=tuple(backups)), project.places[0])
    except ClockSkew:
        return True  # nothing is pruned now, and what will be is not known
    return manifest.name in {due.name for due in decided.due}


def _list_warnings(catalog: Catalog, manifest: Manifest, skipped: Sequence[str]) -> Iterator[str]:
    newest = next((found for found in catalog.backups if found.source == manifest.source and not found.partial), None)
    held = {table.name for table in manifest.tables}
    if newest and (lacking := [table.name for table in newest.tables if table.name not in held]):
        yield (
            f"It lacks {counted(len(lacking), 'table')} of the newest backup "
            f"({listed(lacking)}). If it is not older than these, it is a dump of some tables: "
            "a restore would bring back nothing else."
        )
    if manifest.excluded:
        yield (
            f"The archive holds no rows of {listed(manifest.excluded)}: its dump left them out, and a restore "
            "brings these tables back empty."
        )
    if skipped:
        yield f"Left out of the restore, as drill_skip says: {', '.join(skipped)}."


@contextmanager
def _withdrawn_on_error(planned: AdoptionPlan) -> Iterator[list[str]]:
    """Delete what the block has put into the list, if it fails; not if the manifest names the archive by now."""
    storage, manifest_key = planned.project.storage, f"{planned.name}{MANIFEST_SUFFIX}"
    made: list[str] = []
    try:
        yield made
    except BaseException:
        if storage.stat(manifest_key) is None or not are_archives_of(storage, [planned.key, *made], manifest_key):
            for key in made:
                storage.delete(key)
        raise


@contextmanager
def _as_refusal(origin: Origin) -> Iterator[None]:
    """Say of a failure that the archive is not adopted."""
    try:
        yield
    except (VerificationFailed, RestoreFailed, RestoreRefused) as error:
        kind: type[BackupError] = RestoreRefused if isinstance(error, RestoreRefused) else VerificationFailed
        raise kind(f"{origin.name} is not adopted, and nothing was stored: {error}") from error
