"""Zstandard: what an archive holds, what a reader accepts, and what it says without the library."""

from __future__ import annotations

import io
import random
import resource
import struct
import subprocess
import sys
import threading
import types
from collections.abc import Iterator

import pytest

from django_cfg.backup.config.backup import BackupConfig
from django_cfg.backup.errors import ConfigurationError, VerificationFailed
from django_cfg.backup.pipeline import zstd_frame
from django_cfg.backup.pipeline.compression import compress, decompress, require_library
from django_cfg.backup.pipeline.stream import pump
from django_cfg.backup.pipeline.zstd_frame import ZstdReader, compress_frame, zstd_library
from django_cfg.backup.process.pipes import BLOCK
from tests.support import needs

PLAIN = b"".join(b"row %d\n" % number for number in range(300_000))
MAGIC = b"\x28\xb5\x2f\xfd"  # of a frame
SKIPPABLE = struct.pack("<II", 0x184D2A50, 5) + b"notes"  # RFC 8878, 3.1.2


def packed(plain: bytes = PLAIN) -> bytes:
    sink = io.BytesIO()
    with compress(sink, "zstd") as writer:
        pump(io.BytesIO(plain), writer)
    return sink.getvalue()


def unpacked(stored: bytes) -> bytes:
    content = io.BytesIO()
    with decompress(io.BytesIO(stored), "zstd") as plain:
        pump(plain, content)
    return content.getvalue()


def program(*options: str, data: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([needs.program("zstd"), *options], input=data, capture_output=True, check=False)


class TestWritten:
    def test_every_frame_has_a_checksum_and_its_size(self) -> None:
        """RFC 8878, 3.1.1.1.1: bit 2 of the descriptor, and the two bits of the size of the size."""
        stored = packed()
        while stored:
            descriptor = stored[4]
            assert descriptor & 0b100
            assert descriptor >> 6
            stored = stored[zstd_library().get_frame_size(stored) :]

    def test_the_program_tests_it(self) -> None:
        """And finds a flipped bit in it."""
        stored = packed()
        assert program("--test", data=stored).returncode == 0
        damaged = bytearray(stored)
        damaged[len(damaged) // 2] ^= 1
        assert program("--test", data=bytes(damaged)).returncode != 0

    def test_threads_share_no_compressor(self) -> None:
        blocks = [random.Random(number).randbytes(1000) * 1000 for number in range(8)]
        frames: dict[int, bytes] = {}

        def work(number: int) -> None:
            frames[number] = compress_frame(blocks[number])

        workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert [unpacked(frames[number]) for number in range(8)] == blocks


class TestRead:
    def test_skippable_frames_are_skipped(self) -> None:
        """Also as the first and the last, as some programs write them for their own ends."""
        stored = SKIPPABLE + compress_frame(b"one,") + SKIPPABLE * 2 + compress_frame(b"two") + SKIPPABLE
        assert unpacked(stored) == b"one,two"

    def test_empty_frames_are_not_the_end(self) -> None:
        assert unpacked(compress_frame(b"") + compress_frame(b"") + compress_frame(b"later")) == b"later"

    @pytest.mark.parametrize("garbage", [b"\0", b"\x28\xb5", b"garbage" * 9, bytes(300_000), SKIPPABLE[:-1]])
    def test_anything_else_after_a_frame_is_damage(self, garbage: bytes) -> None:
        """A part of a magic number, too."""
        with pytest.raises(VerificationFailed, match="cut short or damaged"):
            unpacked(packed() + garbage)

    def test_an_empty_file_is_damage(self) -> None:
        with pytest.raises(VerificationFailed, match="ends within a frame"):
            unpacked(b"")

    def test_any_cut_within_a_frame_is_damage(self) -> None:
        stored = compress_frame(PLAIN[:3000])
        for kept in range(len(stored)):
            with pytest.raises(VerificationFailed):
                unpacked(stored[:kept])

    def test_any_changed_byte_of_the_content_is_damage(self) -> None:
        """The checksum finds what still can be decompressed."""
        stored = compress_frame(random.Random(1).randbytes(400))
        for position in range(len(stored)):
            damaged = bytearray(stored)
            damaged[position] ^= 1
            try:
                assert unpacked(bytes(damaged)) == unpacked(stored)  # a bit of the header that no reader looks at
            except VerificationFailed:
                continue

    def test_single_bytes_from_the_source_and_to_the_reader(self) -> None:
        class Trickle(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                return super().read(1)

        reader = ZstdReader(Trickle(compress_frame(b"one,") + compress_frame(b"two")))
        assert b"".join(iter(lambda: reader.read(1), b"")) == b"one,two"
        assert reader.read(1) == b""

    def test_no_bytes_are_asked_for_and_none_come(self) -> None:
        reader = ZstdReader(io.BytesIO(packed()))
        assert reader.read(0) == b""
        assert reader.read() == PLAIN

    def test_a_giant_window_is_refused(self) -> None:
        """An archive that was replaced may ask for 2 GB before its first byte."""
        last_block = struct.pack("<I", 5 << 3 | 1)[:3] + b"plain"  # as it is, not compressed
        for log, is_read in ((10, True), (23, True), (24, False), (31, False)):
            frame = MAGIC + bytes([0, log - 10 << 3]) + last_block
            if is_read:
                assert unpacked(frame) == b"plain"
            else:
                with pytest.raises(VerificationFailed, match="memory"):
                    unpacked(frame)

    def test_the_best_levels_of_the_program_are_read(self) -> None:
        some = PLAIN[:400_000]
        assert unpacked(program("-c", "-19", data=some).stdout) == some

    @pytest.mark.parametrize("size", [BLOCK, 65_536])
    def test_a_flood_of_zeros_is_read_in_bounded_memory(self, size: int) -> None:
        """400 MB in a few thousand bytes; not more than was asked for is kept."""
        bomb = zstd_library().compress(bytes(400 * BLOCK), 1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        reader = ZstdReader(io.BytesIO(bomb))
        read = 0
        while block := reader.read(size):
            assert len(block) <= size
            read += len(block)
        assert read == 400 * BLOCK
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000  # KB


class TestLibrary:
    """Which module is used, and what is said where there is none."""

    @pytest.fixture(autouse=True)
    def _asked_again(self) -> Iterator[None]:
        zstd_library.cache_clear()
        yield
        zstd_library.cache_clear()

    def test_without_the_extra_the_error_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "version_info", (3, 13, 0))
        monkeypatch.setitem(sys.modules, "backports.zstd", None)
        with pytest.raises(ConfigurationError, match=r"pip install 'django-cfg-backup\[zstd\]'"):
            require_library("zstd")
        with pytest.raises(ConfigurationError, match=r"backports\.zstd"):
            compress(io.BytesIO(), "zstd")
        with pytest.raises(ConfigurationError, match="zstd -dc"), decompress(io.BytesIO(), "zstd"):
            pass

    def test_the_others_need_no_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(zstd_frame, "import_module", lambda name: pytest.fail(name))
        for method in ("gzip", "bz2", "xz", "none"):
            require_library(method)  # type: ignore[arg-type]

    def test_from_python_3_14_on_it_is_pythons_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its interface is that of the backport, which plays its part here."""
        if sys.version_info < (3, 14):
            backport = zstd_library()
            zstd_library.cache_clear()
            monkeypatch.setattr(sys, "version_info", (3, 14, 0))
            monkeypatch.setitem(sys.modules, "compression", types.ModuleType("compression"))
            monkeypatch.setitem(sys.modules, "compression.zstd", backport)
            monkeypatch.setitem(sys.modules, "backports.zstd", None)
        assert zstd_library() is sys.modules["compression.zstd"]
        assert unpacked(packed()) == PLAIN

    def test_a_python_that_was_built_without_it_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """No extra helps there."""
        monkeypatch.setattr(sys, "version_info", (3, 14, 0))
        monkeypatch.setitem(sys.modules, "compression.zstd", None)
        with pytest.raises(ConfigurationError, match=r"built without its module compression\.zstd"):
            require_library("zstd")

    def test_the_configuration_accepts_it_without_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Settings are read by every process; the check, `backup_check` and every backup complain."""
        monkeypatch.setitem(sys.modules, "backports.zstd", None)
        assert BackupConfig(compression="zstd").compression == "zstd"
