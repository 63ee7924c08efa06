"""Taking a backup out of its storage: as stored, or as the dump tool wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from django_cfg.backup.errors import NameTaken, StorageError
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.archive import copy_stored, read_stored
from django_cfg.backup.pipeline.compression import SUFFIX
from django_cfg.backup.pipeline.encryption.encrypt import SUFFIX as ENCRYPTED
from django_cfg.backup.pipeline.encryption.keyring import USERS_KEYRING, DecryptionKeys
from django_cfg.backup.pipeline.stream import Readable, blocks, pump
from django_cfg.backup.services.catalog.archives import open_archive, require_readable
from django_cfg.backup.services.catalog.catalog import Catalog
from django_cfg.backup.services.catalog.places import places_with, read_first_good
from django_cfg.backup.services.project.progress import SILENT, Progress, byte_progress
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.storage.base import Storage, removed_on_error
from django_cfg.backup.storage.local import LocalStorage


def download_chosen(
    project: Project,
    catalog: Catalog,
    manifest: Manifest,
    folder: Path,
    *,
    plain: bool = False,
    progress: Progress = SILENT,
    keys: DecryptionKeys = USERS_KEYRING,
) -> Path:
    """Like :func:`download_backup`, from the first place that has it good.

    :raises StorageError: *folder* has a file of that name; or no place can be read.
    """

    def download(storage: Storage) -> Path:
        return download_backup(storage, manifest, folder, plain=plain, progress=progress, keys=keys)

    try:
        return read_first_good(places_with(project, catalog, manifest), download, progress)[1]
    except NameTaken:
        raise StorageError(
            f"{folder} holds a file of the backup {manifest.name} already, and nothing is ever overwritten: "
            "choose another folder (--to)."
        ) from None


def download_backup(
    storage: Storage,
    manifest: Manifest,
    folder: Path,
    *,
    plain: bool = False,
    progress: Progress = SILENT,
    keys: DecryptionKeys = USERS_KEYRING,
) -> Path:
    """Copy a backup into *folder*, which becomes a local storage of its own; checked before it appears.

    :param plain: only its archives, decrypted and decompressed.
    :param keys: what opens an encrypted one.
    :returns: the file of the first archive.
    :raises NameTaken: the file exists.
    :raises EncryptionError: *plain*, and *keys* do not open it.
    :raises VerificationFailed: the bytes are not the ones that were stored.
    """
    target = LocalStorage(folder)
    if plain:
        require_readable(storage, manifest, keys)
    with (
        byte_progress(progress, f"{manifest.name}: downloading", manifest.size) as advance,
        removed_on_error(target) as made,
    ):
        for part in manifest.parts:
            key = plain_name(part) if plain else part.archive_key
            if plain:
                with (
                    open_archive(storage, part, keys, advance) as content,
                    target.publish(key, expected_size=part.raw_size) as sink,
                ):
                    pump(content, sink)
            else:
                with storage.open(part.archive_key) as stored, target.publish(key, expected_size=part.size) as sink:
                    copy_stored(stored, sink, part.archive, advance)
            made.append(key)
        if not plain:
            target.write(manifest.key, manifest.to_json())
    return target.root / made[0]


def stream_stored(storage: Storage, manifest: Manifest) -> Iterator[bytes]:
    """Yield the first archive of *manifest* as it is stored, as :func:`hold_back_last` does."""
    with storage.open(manifest.archive_key) as stored:
        yield from hold_back_last(read_stored(stored, manifest.archive))


def hold_back_last(checked: Readable) -> Iterator[bytes]:
    """Yield the last block only after all were compared: a transfer that ends before its length is no file."""
    held = b""
    for block in blocks(checked):
        if held:
            yield held
        held = block
    yield held


def plain_name(manifest: Manifest) -> str:
    """Return the key of the first archive of *manifest* once it is decrypted and decompressed."""
    return manifest.archive_key.removesuffix(ENCRYPTED).removesuffix(SUFFIX[manifest.compression])
