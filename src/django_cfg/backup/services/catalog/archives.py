"""Reading the archive of a backup, checked against the manifest, with progress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django_cfg.backup.errors import EncryptionError
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.archive import PlainReader, check_stored, unpack
from django_cfg.backup.pipeline.compression import require_library
from django_cfg.backup.pipeline.encryption.decrypt import require_key
from django_cfg.backup.pipeline.encryption.keyring import DecryptionKeys
from django_cfg.backup.pipeline.stream import Checkpoints, OnProgress
from django_cfg.backup.services.project.progress import Progress, byte_progress
from django_cfg.backup.storage.base import Storage


def check_archive(storage: Storage, manifest: Manifest, progress: Progress) -> Checkpoints:
    """Read the stored bytes once and compare them with the manifest, before any of them is used.

    :returns: what makes sure that :func:`open_archive` reads the same bytes again.
    :raises VerificationFailed: they are not the ones that were stored.
    """
    with (
        byte_progress(progress, f"{manifest.name}: checking the archive", manifest.archive.size) as advance,
        storage.open(manifest.archive_key) as stored,
    ):
        return check_stored(stored, manifest.archive, advance)


def require_readable(storage: Storage, manifest: Manifest, keys: DecryptionKeys) -> None:
    """Look at the beginning of the archive alone.

    :raises ConfigurationError: what decompresses it is not installed.
    :raises EncryptionError: the backup is encrypted, and *keys* do not open it; or its beginning is damaged, which
        only reading all of the archive distinguishes.
    """
    require_library(manifest.compression)
    if manifest.encryption.method == "none":
        return
    try:
        with storage.open(manifest.archive_key) as stored:
            require_key(stored, manifest.encryption, keys)
    except EncryptionError as error:
        raise type(error)(
            f"{error} An archive whose beginning is damaged looks the same: `backup_verify {manifest.name}` compares "
            "all of it with the manifest."
        ) from error


@contextmanager
def open_archive(
    storage: Storage,
    manifest: Manifest,
    keys: DecryptionKeys,
    advance: OnProgress,
    checkpoints: Checkpoints | None = None,
) -> Iterator[PlainReader]:
    """A reader of the plain bytes of a backup. Its end is reported only after all digests have been compared.

    :param advance: called with the number of stored bytes that were read.
    :param checkpoints: from :func:`check_archive`: not a byte is handed out that was not checked before.
    :raises VerificationFailed: from ``read``: the bytes are not the ones that were stored.
    :raises EncryptionError: *keys* do not open it.
    """
    with (
        storage.open(manifest.archive_key) as stored,
        unpack(
            stored, manifest.archive, manifest.compression, advance, manifest.encryption, keys, checkpoints
        ) as plain,
    ):
        yield plain
