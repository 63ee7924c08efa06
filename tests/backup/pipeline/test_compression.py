"""Compression, both ways: the field's own programs read what we write, and we read what they write."""

from __future__ import annotations

import io
import random
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest

from django_cfg.backup.config.backup import Compression
from django_cfg.backup.errors import DumpFailed, StorageError, VerificationFailed
from django_cfg.backup.pipeline.compression import UNPACK_COMMAND, compress, decompress, threads
from django_cfg.backup.pipeline.filter import Filter
from django_cfg.backup.pipeline.stream import HashingReader, HashingWriter, drain, pump
from django_cfg.backup.process.pipes import BLOCK
from tests.support import needs
from tests.support.compression_ways import PROGRAMS, Way, every_way

COMPRESSED: tuple[Compression, ...] = ("gzip", "bz2", "xz")
_random = random.Random(26)
# Both compressible and not, longer than the blocks of all writers.
PLAIN = b"".join(b"row %d\n" % number for number in range(50_000)) + _random.randbytes(BLOCK // 2 + 17)
NOISE = _random.randbytes(2 * BLOCK)  # as long when compressed

# What writes each method, as a command that reads stdin and writes stdout.
WRITERS = [
    ("gzip", ["gzip", "-c"]),
    ("gzip", ["gzip", "-1c"]),
    ("gzip", ["pigz", "-c", "-p4", "-b128"]),
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
def test_what_goes_in_comes_out(way: Way, plain: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every writer and every reader, from nothing to several blocks."""
    way.force(tmp_path, monkeypatch)
    assert decompressed(compressed(plain, way.method), way.method) == plain


@every_way
def test_the_standard_program_reads_what_is_written(way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that a manifest's restore hint tells works, whichever writer the machine had."""
    with monkeypatch.context() as machine:
        way.force(tmp_path, machine)
        stored = compressed(PLAIN, way.method)
    assert run(UNPACK_COMMAND[way.method].split(), stored) == PLAIN


@pytest.mark.parametrize(
    ("method", "command"), WRITERS, ids=lambda value: value if isinstance(value, str) else value[0]
)
def test_what_programs_write_is_read(method: Compression, command: list[str]) -> None:
    """Also in several streams and blocks, as the parallel programs write."""
    assert decompressed(run(command, PLAIN), method) == PLAIN


@pytest.mark.parametrize("method", COMPRESSED)
def test_concatenated_files_are_read_to_the_last(method: Compression) -> None:
    """All three formats allow it: one after the other, they are one stream."""
    assert decompressed(compressed(b"one,", method) + compressed(b"two", method), method) == b"one,two"


@every_way
def test_each_way_is_taken_when_the_machine_has_it(way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of its own where there is one; the standard library where there is none."""
    way.force(tmp_path, monkeypatch)
    with compress(HashingWriter(io.BytesIO()), way.method) as packer:
        assert isinstance(packer, Filter) is (way.by in PROGRAMS)


def test_at_most_four_threads_are_used() -> None:
    """A backup leaves something of a large machine to its site."""
    assert 1 <= threads() <= 4


@pytest.mark.parametrize("method", COMPRESSED)
@pytest.mark.parametrize("kept", [1, 5, 20, 0.3, 0.9, -9, -1], ids=lambda kept: f"kept {kept}")
def test_a_stream_cut_short_is_damaged(method: Compression, kept: float) -> None:
    """Wherever the cut is: in the header, in the data, in the end mark."""
    whole = packed(method)
    cut = whole[: int(kept * len(whole)) if isinstance(kept, float) else int(kept)]
    with pytest.raises(VerificationFailed, match="cut short or damaged"):
        decompressed(cut, method)


@pytest.mark.parametrize("method", COMPRESSED)
@pytest.mark.parametrize("where", [0, 1, 0.1, 0.5, 0.99], ids=lambda where: f"at {where}")
def test_a_flipped_byte_is_damage(method: Compression, where: float) -> None:
    """In the magic number as in the data."""
    damaged = bytearray(packed(method))
    damaged[int(where * len(damaged)) if isinstance(where, float) else where] ^= 0xFF
    with pytest.raises(VerificationFailed, match="cut short or damaged"):
        decompressed(bytes(damaged), method)


@every_way
def test_a_sink_that_fails_is_told_as_it_failed(way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own error surfaces, from whichever thread wrote, and nobody waits for ever."""
    way.force(tmp_path, monkeypatch)
    with (  # noqa: PT012
        pytest.raises(StorageError, match="the storage is full"),
        compress(HashingWriter(FullSink()), way.method) as packer,
    ):
        for _ in range(3):
            pump(io.BytesIO(NOISE), packer)


@every_way
def test_an_exception_in_the_block_surfaces(way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dump that fails half-way is told as such, not as a broken pipe of the compressor."""
    way.force(tmp_path, monkeypatch)
    with pytest.raises(DumpFailed, match="half-way"), compress(HashingWriter(io.BytesIO()), way.method) as packer:  # noqa: PT012
        packer.write(NOISE)
        raise DumpFailed("half-way")


@pytest.mark.parametrize("method", ["gzip", "bz2", "xz", "none"])
def test_a_source_that_fails_is_told_as_it_failed(method: Compression) -> None:
    """A storage that stops answering is no damaged archive."""
    source = HashingReader(FailingSource(packed(method)))
    with pytest.raises(StorageError, match="the storage is gone"), decompress(source, method) as plain:
        pump(plain, io.BytesIO())


@pytest.mark.parametrize("method", ["gzip", "bz2", "xz", "none"])
def test_a_reader_may_stop_early(method: Compression) -> None:
    """Leaving the block before the end leaves nothing behind."""
    with decompress(io.BytesIO(packed(method)), method) as plain:
        assert plain.read(10) == PLAIN[:10]


@pytest.mark.parametrize("method", ["gzip", "bz2", "xz"])
def test_any_flipped_bit_is_told_as_damage_and_as_nothing_else(method: Compression) -> None:
    """Each library has several errors of its own for the many ways a stream can be broken."""
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
