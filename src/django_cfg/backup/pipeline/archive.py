"""The two ways through an archive: packing a dump into storage, and unpacking it again, checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django_cfg.backup.config.backup import Compression
from django_cfg.backup.errors import VerificationFailed
from django_cfg.backup.manifest import Archive, Encryption
from django_cfg.backup.pipeline.compression import compress, decompress
from django_cfg.backup.pipeline.encryption.decrypt import decrypt
from django_cfg.backup.pipeline.encryption.encrypt import UNENCRYPTED, Encryptor
from django_cfg.backup.pipeline.encryption.keyring import USERS_KEYRING, DecryptionKeys
from django_cfg.backup.pipeline.stream import (
    CheckedReader,
    CheckpointReader,
    Checkpoints,
    Digest,
    HashingReader,
    HashingWriter,
    OnProgress,
    Readable,
    Writable,
    drain,
    interrupt_on_error,
    pump,
)


@dataclass(frozen=True)
class Packed:
    """The digests of both ends of the stream."""

    raw: Digest
    stored: Digest


class PlainReader(CheckedReader):
    """The plain bytes of an archive, and the hash of its *stored* ones."""

    def __init__(self, source: Readable, check: Callable[[], None], stored: HashingReader) -> None:
        super().__init__(source, check)
        self.stored = stored

    @property
    def may_end_early(self) -> bool:
        """Whether each byte was compared before it was handed out, and not only all of them at the end."""
        return isinstance(self.stored, CheckpointReader)


def pack(
    dump: Readable,
    sink: Writable,
    compression: Compression,
    advance: OnProgress | None = None,
    encryptor: Encryptor = UNENCRYPTED,
) -> Packed:
    """dump -> count and hash -> compress -> encrypt -> count and hash -> *sink*, in one pass."""
    raw, stored = HashingReader(dump, advance), HashingWriter(sink)
    with encryptor.into(stored) as sealed, compress(sealed, compression) as packer, interrupt_on_error(sink):
        unchanged = packer is stored
        pump(raw, sink if unchanged else packer)
    return Packed(raw.digest, raw.digest if unchanged else stored.digest)  # SHA-256 is dear: never twice of the same


@contextmanager
def unpack(
    stored: Readable,
    archive: Archive,
    compression: Compression,
    advance: OnProgress | None = None,
    encryption: Encryption = UNENCRYPTED.facts,
    keys: DecryptionKeys = USERS_KEYRING,
    checkpoints: Checkpoints | None = None,
) -> Iterator[PlainReader]:
    """The plain bytes of *archive*. Its end is reported only after both digests have been compared.

    :param checkpoints: of the stored bytes, from :func:`check_stored`; with them no byte is decrypted, decompressed
        or handed out that is not one that was checked.
    :raises VerificationFailed: from ``read``, when the bytes are not the ones that were stored, or more than those.
    :raises EncryptionError: *keys* do not open it.
    """
    counted = CheckpointReader(stored, checkpoints, advance) if checkpoints else HashingReader(stored, advance)
    with decrypt(counted, encryption, keys) as packed, decompress(packed, compression) as decompressed:
        plain = HashingReader(decompressed, lambda _: _refuse_more(plain, archive))

        def compare() -> None:
            drain(packed)  # what a decompressor leaves unread after its end mark counts too, and gpg has the last word
            _compare(counted.digest, Digest(archive.size, archive.sha256), archive.key, "stored")
            _compare(plain.digest, Digest(archive.raw_size, archive.raw_sha256), archive.key, "unpacked")

        yield PlainReader(plain, compare, counted)


def read_stored(stored: Readable, archive: Archive, advance: OnProgress | None = None) -> CheckedReader:
    """A reader of the stored bytes, which reports their end only after they have been compared with the manifest.

    :raises VerificationFailed: from ``read``: they differ.
    """
    counted = HashingReader(stored, advance)
    expected = Digest(archive.size, archive.sha256)
    return CheckedReader(counted, lambda: _compare(counted.digest, expected, archive.key, "stored"))


def copy_stored(stored: Readable, sink: Writable, archive: Archive, advance: OnProgress | None = None) -> None:
    """Copy the stored bytes into *sink* and compare them with the manifest.

    :raises VerificationFailed: they differ.
    """
    pump(read_stored(stored, archive, advance), sink)


def check_stored(stored: Readable, archive: Archive, advance: OnProgress | None = None) -> Checkpoints:
    """Read the stored bytes to their end and compare them with the manifest.

    :returns: what a second reading can be compared with, piece by piece.
    :raises VerificationFailed: they differ.
    """
    counted = HashingReader(stored, advance)
    drain(counted)
    _compare(counted.digest, Digest(archive.size, archive.sha256), archive.key, "stored")
    return counted.checkpoints


def _refuse_more(plain: HashingReader, archive: Archive) -> None:
    """A small archive can unpack to a full disk: stop at the first byte that the manifest does not promise."""
    if plain.size > archive.raw_size:
        raise VerificationFailed(
            f"{archive.key} unpacks to more than the {archive.raw_size:,} bytes of its manifest: it was replaced. "
            "Reading stopped there. Use another backup, and keep this one for the investigation."
        )


def _compare(found: Digest, expected: Digest, key: str, what: str) -> None:
    if found.size != expected.size:
        raise VerificationFailed(
            f"{key} has {found.size:,} {what} bytes, its manifest says {expected.size:,}: it was cut short or "
            "replaced. Use another backup, and keep this one for the investigation."
        )
    if found.sha256 != expected.sha256:
        raise VerificationFailed(
            f"The {what} bytes of {key} are not those of its manifest (SHA-256 differs): it was damaged or "
            "replaced after it was written. Use another backup, and keep this one for the investigation."
        )
