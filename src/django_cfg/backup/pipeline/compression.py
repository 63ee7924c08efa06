"""Compression, both ways. What is written opens with plain gzip, zstd, bzip2 and xz.

gzip and zstd are written by parallel_compressor. gzip is read by ISA-L in a thread of its own where its wheel exists;
bz2 and xz use a parallel program where the machine has one, else the standard library.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from typing import IO, Any, TypeVar, cast

from django_cfg.backup.config.backup import Compression
from django_cfg.backup.errors import VerificationFailed
from django_cfg.backup.pipeline.filter import Filter
from django_cfg.backup.pipeline.gzip_member import compress_member
from django_cfg.backup.pipeline.parallel_compressor import ParallelCompressor, threads
from django_cfg.backup.pipeline.stream import Readable, Writable
from django_cfg.backup.pipeline.zstd_frame import ZstdReader, compress_frame, zstd_library

igzip_threaded: Any
try:
    igzip_threaded = import_module("isal.igzip_threaded")
    _ISAL_DAMAGE: tuple[type[Exception], ...] = (import_module("isal.igzip_lib").IsalError,)
except ImportError:  # no wheel for this processor
    igzip_threaded = None
    _ISAL_DAMAGE = ()

SUFFIX: dict[Compression, str] = {"gzip": ".gz", "bz2": ".bz2", "xz": ".xz", "zstd": ".zst", "none": ""}
UNPACK_COMMAND: dict[Compression, str] = {
    "gzip": "gzip -dc",
    "bz2": "bzip2 -dc",
    "xz": "xz -dc",
    "zstd": "zstd -dc",
    "none": "cat",
}

_Stream = TypeVar("_Stream")

_IGZIP_BLOCK = 256 << 10  # bytes; its reader takes eight times as much at once
_XZ_MEMORY = "512MiB"  # xz lowers its threads, then its dictionary, to stay below
_DAMAGE: tuple[type[Exception], ...] = (EOFError, OSError, zlib.error, lzma.LZMAError, ValueError, *_ISAL_DAMAGE)


def require_library(method: Compression) -> None:
    """
    :raises ConfigurationError: *method* needs a library that is not installed.
    """
    if method == "zstd":
        zstd_library()


def compress(sink: Writable, method: Compression) -> AbstractContextManager[Writable]:
    """A writer that compresses into *sink*; leaving the block writes the last bytes."""
    match method:
        case "gzip":
            return ParallelCompressor(sink, compress_member)
        case "zstd":
            require_library(method)
            return ParallelCompressor(sink, compress_frame)
        case "bz2":
            return _program_writer(_bz2_program(), sink) or bz2.BZ2File(cast(IO[bytes], sink), "wb")
        case "xz":
            return _program_writer(_xz_program(), sink) or lzma.LZMAFile(cast(IO[bytes], sink), "wb")
        case "none":
            return _unchanged(sink)


@contextmanager
def decompress(source: Readable, method: Compression) -> Iterator[Readable]:
    """A reader of the plain bytes in *source*. Damage is an VerificationFailed when it is met."""
    with _reader(source, method) as plain:
        yield _DamageReader(plain)


class _DamageReader:
    """Puts the many ways of these libraries to say "damaged" into one error."""

    def __init__(self, plain: Readable) -> None:
        self._plain = plain

    def read(self, size: int = -1) -> bytes:
        try:
            return self._plain.read(size)
        except _Interrupted as carried:
            raise carried.interruption from None
        except _DAMAGE as error:
            raise VerificationFailed(
                f"The archive cannot be decompressed ({error}): it is cut short or damaged."
            ) from error


class _Interrupted(Exception):
    def __init__(self, interruption: BaseException) -> None:
        super().__init__()
        self.interruption = interruption


class _ReadInThread(io.RawIOBase):
    """What a library reads in a thread of its own, which passes on an Exception alone: it would take the cancellation
    of a run for the end of the archive."""

    def __init__(self, source: Readable) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            block = self._source.read(len(buffer))
        except Exception:
            raise
        except BaseException as error:
            raise _Interrupted(error) from error
        buffer[: len(block)] = block
        return len(block)


def _reader(source: Readable, method: Compression) -> AbstractContextManager[Readable]:
    origin = cast(IO[bytes], source)
    match method:
        case "gzip" if igzip_threaded is not None:
            return cast(
                AbstractContextManager[Readable],
                igzip_threaded.open(_ReadInThread(source), "rb", block_size=_IGZIP_BLOCK),
            )
        case "gzip":
            return gzip.GzipFile(fileobj=origin, mode="rb")
        case "bz2":
            return bz2.BZ2File(origin, "rb")
        case "xz":
            return lzma.LZMAFile(origin, "rb")
        case "zstd":
            return _unchanged(ZstdReader(source))
        case "none":
            return _unchanged(source)


@contextmanager
def _unchanged(stream: _Stream) -> Iterator[_Stream]:
    yield stream


def _program_writer(argv: list[str] | None, sink: Writable) -> Filter | None:
    return Filter(argv, sink) if argv else None


def _bz2_program() -> list[str] | None:
    if program := shutil.which("lbzip2"):
        return [program, "-c", "-n", str(threads())]
    if program := shutil.which("pbzip2"):
        return [program, "-c", f"-p{threads()}"]
    return None


def _xz_program() -> list[str] | None:
    if program := shutil.which("xz"):
        return [program, "-c", f"-T{threads()}", f"--memlimit-compress={_XZ_MEMORY}"]
    return None
