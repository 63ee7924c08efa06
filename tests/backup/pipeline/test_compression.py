"""Compression and decompression, compatible with the standard programs in both directions."""

from __future__ import annotations

import io
import random
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup.config.backup import Compression
from django_cfg.backup.errors import DumpFailed, StorageError, VerificationFailed
from django_cfg.backup.pipeline.compression import SUFFIX, UNPACK_COMMAND, compress, decompress, threads
from django_cfg.backup.pipeline.filter import Filter
from django_cfg.backup.pipeline.stream import HashingReader, HashingWriter, drain, pump
from django_cfg.backup.process.pipes import BLOCK
from tests.support import needs
from tests.support.compression_ways import PROGRAMS, Way, every_way

COMPRESSED: tuple[Compression, ...] = ("gzip", "zstd", "bz2", "xz")
_random = random.Random(26)
# Both compressible and not, longer than the blocks of all writers.
PLAIN = b"".join(b"row %d\n" % number for number in range(50_000)) + _random.randbytes(BLOCK // 2 + 17)
NOISE = _random.randbytes(2 * BLOCK)  # as long when compressed

# What writes each method, as a command that reads stdin and writes stdout.
WRITERS = [
    ("gzip", ["gzip", "-c"]),
    ("gzip", ["gzip", "-1c"]),
    ("gzip", ["pigz", "-c", "-p4", "-b128"]),
    ("zstd", ["zstd", "-c"]),
    ("zstd", ["zstd", "-c", "-19"]),
    ("zstd", ["zstd", "-c", "-T4", "-B1MiB", "--no-check"]),
    ("bz2", ["bzip2", "-c"]),
    ("bz2", ["lbzip2", "-c", "-n4"]),
    ("bz2", ["pbzip2", "-c", "-p4"]),
    ("xz", ["xz", "-c"]),
    ("xz", ["xz", "-c", "-T4", "--block-size=200KiB"]),
]


class FullSink:
    """Refuses everything after its first 100,000 bytes."""

    def __init__(self) -> None:
        self.room = 100_000

    def write(self, block: bytes) -> int:
        self.room -= len(block)
        if self.room < 0:
            raise StorageError("the storage is full")
        return len(block)


class FailingSource:
    """Gives *data* until only its last byte is left, then fails."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data[:-1])

    def read(self, size: int = -1) -> bytes:
        if block := self._data.read(size):
            return block
        raise StorageError("the storage is gone")


def compressed(plain: bytes, method: Compression) -> bytes:
    sink = io.BytesIO()
    with compress(HashingWriter(sink), method) as packer:
        pump(io.BytesIO(plain), packer)
    return sink.getvalue()


@cache
def packed(method: Compression) -> bytes:
    """PLAIN, compressed once for all tests."""
    return compressed(PLAIN, method)


def decompressed(stored: bytes, method: Compression) -> bytes:
    plain = io.BytesIO()
    with decompress(HashingReader(io.BytesIO(stored)), method) as reader:
        pump(reader, plain)
    return plain.getvalue()


def run(command: list[str], data: bytes) -> bytes:
    program, *options = command
    return subprocess.run([needs.program(program), *options], input=data, capture_output=True, check=True).stdout


@every_way
@pytest.mark.parametrize("plain", [b"", b"x", PLAIN], ids=["empty", "one byte", "long"])
def test_a_round_trip_returns_the_same_bytes(
    way: Way, plain: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every writer and reader, from an empty stream to several blocks."""
    way.force(tmp_path, monkeypatch)
    assert decompressed(compressed(plain, way.method), way.method) == plain


@every_way
def test_the_standard_program_reads_what_is_written(way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command of a manifest's restore hint works, whichever writer the machine had."""
    with monkeypatch.context() as machine:
        way.force(tmp_path, machine)
        stored = compressed(PLAIN, way.method)
    assert run(UNPACK_COMMAND[way.method].split(), stored) == PLAIN


@pytest.mark.parametrize(
    ("method", "command"), WRITERS, ids=lambda value: value if isinstance(value, str) else value[0]
)
def test_output_of_the_standard_programs_is_read(method: Compression, command: list[str]) -> None:
    """Also in several streams and blocks, as the parallel programs write."""
    assert decompressed(run(command, PLAIN), method) == PLAIN


@pytest.mark.parametrize("method", COMPRESSED)
def test_concatenated_streams_are_read_completely(method: Compression) -> None:
    """All formats allow concatenation."""
    assert decompressed(compressed(b"one,", method) + compressed(b"two", method), method) == b"one,two"


@every_way
def test_the_best_available_writer_is_used(way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program if the machine has one, otherwise the standard library."""
    way.force(tmp_path, monkeypatch)
    with compress(HashingWriter(io.BytesIO()), way.method) as packer:
        assert isinstance(packer, Filter) is (way.by in PROGRAMS)


def test_at_most_four_threads_are_used() -> None:
    """A backup leaves processors of a large machine to the site."""
    assert 1 <= threads() <= 4


@pytest.mark.parametrize("method", COMPRESSED)
@pytest.mark.parametrize("kept", [1, 5, 20, 0.3, 0.9, -9, -1], ids=lambda kept: f"kept {kept}")
def test_a_truncated_stream_is_damage(method: Compression, kept: float) -> None:
    """Truncated in the header, in the data or in the end mark."""
    complete = packed(method)
    cut = complete[: int(kept * len(complete)) if isinstance(kept, float) else int(kept)]
    with pytest.raises(VerificationFailed, match="cut short or damaged"):
        decompressed(cut, method)


@pytest.mark.parametrize("method", COMPRESSED)
@pytest.mark.parametrize("where", [0, 1, 0.1, 0.5, 0.99], ids=lambda where: f"at {where}")
def test_a_flipped_byte_is_damage(method: Compression, where: float) -> None:
    """In the magic number and in the data."""
    damaged = bytearray(packed(method))
    damaged[int(where * len(damaged)) if isinstance(where, float) else where] ^= 0xFF
    with pytest.raises(VerificationFailed, match="cut short or damaged"):
        decompressed(bytes(damaged), method)


@every_way
def test_the_error_of_a_failing_sink_is_raised(way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From whichever thread wrote, and no thread blocks forever."""
    way.force(tmp_path, monkeypatch)
    with (  # noqa: PT012
        pytest.raises(StorageError, match="the storage is full"),
        compress(HashingWriter(FullSink()), way.method) as packer,
    ):
        for _ in range(3):
            pump(io.BytesIO(NOISE), packer)


@every_way
def test_an_exception_in_the_block_is_raised(way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dump that fails midway raises its own error, not a broken pipe of the compressor."""
    way.force(tmp_path, monkeypatch)
    with pytest.raises(DumpFailed, match="half-way"), compress(HashingWriter(io.BytesIO()), way.method) as packer:  # noqa: PT012
        packer.write(NOISE)
        raise DumpFailed("half-way")


@pytest.mark.parametrize("method", ["gzip", "zstd", "bz2", "xz", "none"])
def test_the_error_of_a_failing_source_is_raised(method: Compression) -> None:
    """A storage that stops answering is not a damaged archive."""
    source = HashingReader(FailingSource(packed(method)))
    with pytest.raises(StorageError, match="the storage is gone"), decompress(source, method) as plain:
        pump(plain, io.BytesIO())


@pytest.mark.parametrize("method", ["gzip", "zstd", "bz2", "xz", "none"])
def test_a_reader_may_stop_early(method: Compression) -> None:
    """Leaving the block early leaves nothing behind."""
    with decompress(io.BytesIO(packed(method)), method) as plain:
        assert plain.read(10) == PLAIN[:10]


@pytest.mark.parametrize("method", ["gzip", "zstd", "bz2", "xz"])
def test_any_flipped_bit_raises_verification_failed(method: Compression) -> None:
    """Each library raises several kinds of errors for a broken stream."""
    choose = random.Random(5)
    data = bytes(choose.choices(range(60), k=100_000))
    packed = io.BytesIO()
    with compress(packed, method) as writer:
        writer.write(data)
    for _ in range(300):
        damaged = bytearray(packed.getvalue())
        damaged[choose.randrange(len(damaged))] ^= 1 << choose.randrange(8)
        with suppress(VerificationFailed), decompress(io.BytesIO(damaged), method) as plain:
            drain(plain)


@pytest.mark.parametrize("method", list(SUFFIX))
def test_an_interruption_while_reading_is_not_the_end_of_the_archive(method: Compression) -> None:
    """The library that reads gzip does so in a thread of its own, which passes on errors alone."""
    packed = io.BytesIO()
    with compress(packed, method) as writer:
        writer.write(random.Random(1).randbytes(3_000_000))
    packed.seek(0)

    class Interrupted(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            if packed.tell() > 1_000_000:
                raise KeyboardInterrupt
            return packed.read(min(size, 65_536) if size > 0 else 65_536)

        def readinto(self, buffer: Any) -> int:
            block = self.read(len(buffer))
            buffer[: len(block)] = block
            return len(block)

    with decompress(Interrupted(), method) as reader, pytest.raises(KeyboardInterrupt):
        drain(reader)
