"""Reading the archive of a backup, checked against the manifest, with progress."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from django_cfg.backup.engines.base import Restoration
from django_cfg.backup.errors import EncryptionError
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.archive import PlainReader, check_stored, unpack
from django_cfg.backup.pipeline.compression import require_library
from django_cfg.backup.pipeline.encryption.decrypt import require_key
from django_cfg.backup.pipeline.encryption.keyring import DecryptionKeys
from django_cfg.backup.pipeline.stream import Checkpoints, OnProgress
from django_cfg.backup.services.project.progress import Progress, byte_progress
from django_cfg.backup.storage.base import Storage

CheckedArchives = Mapping[str, Checkpoints]  # by the key of each archive: what a second reading is compared with


def check_archives(storage: Storage, manifest: Manifest, progress: Progress) -> CheckedArchives:
    """Read the stored bytes once and compare them with the manifest, before any of them is used.

    :returns: what makes sure that :func:`load_archives` reads the same bytes again.
    :raises VerificationFailed: they are not the ones that were stored.
    """
    with byte_progress(progress, f"{manifest.name}: checking the archive", manifest.size) as advance:
        return {part.archive_key: check_archive(storage, part, advance) for part in manifest.parts}


def check_archive(storage: Storage, part: Manifest, advance: OnProgress) -> Checkpoints:
    """Like :func:`check_archives`, of one of the ``parts`` of a manifest."""
    with storage.open(part.archive_key) as stored:
        return check_stored(stored, part.archive, advance)


def load_archives(
    restoration: Restoration,
    storage: Storage,
    manifest: Manifest,
    keys: DecryptionKeys,
    advance: OnProgress,
    checked: CheckedArchives | None = None,
) -> None:
    """Load a backup: its archive, then those that hold rows alone.

    :param checked: from :func:`check_archives`: not a byte is loaded that was not checked before.
    :raises VerificationFailed: the bytes are not the ones that were stored.
    :raises EncryptionError: *keys* do not open it.
    """
    report = _one_at_a_time(advance)

    def open_part(part: Manifest, report: OnProgress) -> AbstractContextManager[PlainReader]:
        return open_archive(storage, part, keys, report, (checked or {}).get(part.archive_key))

    first, *others = manifest.parts
    if storage.folder:
        restoration.open_again = partial(open_part, first, lambda count: None)
    with open_part(first, report) as plain:
        restoration.load(plain)
    if others:
        restoration.load_rows([open_part(part, report) for part in others])


def _one_at_a_time(advance: OnProgress) -> OnProgress:
    """Let several threads report what they have read."""
    lock = threading.Lock()

    def report(count: int) -> None:
        with lock:
            advance(count)

    return report


def require_readable(storage: Storage, manifest: Manifest, keys: DecryptionKeys) -> None:
    """Look at the beginning of the first archive alone.

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
    """A reader of the plain bytes of an archive. Its end is reported only after all digests have been compared.

    :param manifest: of a backup with one archive, or one of the ``parts`` of another.

    :param advance: called with the number of stored bytes that were read.
    :param checkpoints: from :func:`check_archives`: not a byte is handed out that was not checked before.
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
