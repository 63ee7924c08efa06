"""Taking a backup out of its storage: as stored, or as the dump tool wrote it."""

from __future__ import annotations

from pathlib import Path

from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.archive import copy_stored, unpack
from django_cfg.backup.pipeline.compression import SUFFIX
from django_cfg.backup.pipeline.stream import pump
from django_cfg.backup.services.progress import SILENT, Progress, flowing
from django_cfg.backup.storage.base import Storage
from django_cfg.backup.storage.local import LocalStorage


def download_backup(
    storage: Storage, manifest: Manifest, folder: Path, *, plain: bool = False, progress: Progress = SILENT
) -> Path:
    """Copy a backup into *folder*, which becomes a local storage of its own; checked before it appears.

    :param plain: only the archive, decompressed.
    :returns: the file of the archive.
    :raises NameTaken: the file exists.
    :raises IntegrityError: the bytes are not the ones that were stored.
    """
    target = LocalStorage(folder)
    archive = manifest.archive
    key = manifest.archive_key.removesuffix(SUFFIX[manifest.compression]) if plain else manifest.archive_key
    expected = archive.raw_size if plain else archive.size
    with (
        storage.open(manifest.archive_key) as stored,
        target.publish(key, expected_size=expected) as sink,
        flowing(progress, f"{manifest.name}: downloading", archive.size) as advance,
    ):
        if plain:
            with unpack(stored, archive, manifest.compression, advance) as content:
                pump(content, sink)
        else:
            copy_stored(stored, sink, archive, advance)
    if not plain:
        _add_manifest(target, manifest)
    return target.root / key


def _add_manifest(target: Storage, manifest: Manifest) -> None:
    """Make the archive a backup there too; half a pair would look like one that was damaged."""
    try:
        target.write(manifest.key, manifest.to_json())
    except BaseException:
        target.delete(manifest.archive_key)
        raise
