"""Verifying: the stored bytes, then the plain ones to their end, then the format's own rules."""

from __future__ import annotations

from django_cfg.backup.engines import engine_class
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.archive import check_stored, unpack
from django_cfg.backup.services.catalog import LATEST, find, read_catalog
from django_cfg.backup.services.progress import SILENT, Progress, flowing
from django_cfg.backup.services.project import current_project
from django_cfg.backup.services.told import tells_verification
from django_cfg.backup.storage.base import Storage


def verify_backup(name: str = LATEST, *, database: str | None = None, progress: Progress = SILENT) -> Manifest:
    """Verify the backup *name*.

    :raises IntegrityError: it is not what was stored, or not a whole dump.
    """
    project = current_project()
    manifest = find(read_catalog(project.storage), project, name, database)
    verify(project.storage, manifest, progress, tools_dir=project.config.tools_dir)
    return manifest


def verify(storage: Storage, manifest: Manifest, progress: Progress = SILENT, *, tools_dir: str | None = None) -> None:
    """
    :raises IntegrityError: *manifest*'s archive is not what was stored, or not a whole dump.
    """
    engine = engine_class(manifest.engine.vendor, of=f"The backup {manifest.name}")
    archive = manifest.archive
    with tells_verification(manifest), flowing(progress, f"{manifest.name}: verifying", 2 * archive.size) as advance:
        with storage.open(manifest.archive_key) as stored:
            check_stored(stored, archive, advance)
        with (
            storage.open(manifest.archive_key) as stored,
            unpack(stored, archive, manifest.compression, advance) as plain,
        ):
            engine.examine(plain, manifest, tools_dir)
