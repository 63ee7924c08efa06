"""Opening the archive of a backup: its plain bytes, checked against the manifest, with progress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.archive import unpack
from django_cfg.backup.pipeline.encryption.keyring import DecryptionKeys
from django_cfg.backup.pipeline.stream import OnProgress, Readable
from django_cfg.backup.storage.base import Storage


@contextmanager
def open_archive(storage: Storage, manifest: Manifest, keys: DecryptionKeys, advance: OnProgress) -> Iterator[Readable]:
    """A reader of the plain bytes of a backup. Its end is reported only after all digests have been compared.

    :param advance: called with the number of stored bytes that were read.
    :raises VerificationFailed: from ``read``: the bytes are not the ones that were stored.
    :raises EncryptionError: *keys* do not open it.
    """
    with (
        storage.open(manifest.archive_key) as stored,
        unpack(stored, manifest.archive, manifest.compression, advance, manifest.encryption, keys) as plain,
    ):
        yield plain
