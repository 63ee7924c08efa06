"""Compression in parallel: every reader sees one file in the order of the stream."""

from __future__ import annotations

import gzip
import importlib.util
import io
import os
import random
import sys
import threading
from collections.abc import Callable
from itertools import islice

import pytest
from benchmarks.sample import books, sales

from django_cfg.backup.pipeline import gzip_member
from django_cfg.backup.pipeline.gzip_member import compress_member
from django_cfg.backup.pipeline.parallel_compressor import ParallelCompressor
from django_cfg.backup.pipeline.zstd_frame import compress_frame
from django_cfg.backup.process.pipes import BLOCK

MAGIC = b"\x1f\x8b\x08"


def packed(*blocks: bytes, by: Callable[[bytes], bytes] = compress_member) -> bytes:
    sink = io.BytesIO()
    with ParallelCompressor(sink, by) as writer:
        for block in blocks:
            writer.write(block)
    return sink.getvalue()


def test_many_blocks_are_one_gzip_file_in_their_order() -> None:
    choose = random.Random(1)
    blocks = [choose.randbytes(100) * (BLOCK // 100) for _ in range(40)]
    assert gzip.decompress(packed(*blocks)) == b"".join(blocks)


def test_small_blocks_are_gathered() -> None:
    """Some dumps arrive in small pieces; a member for each would cost more than it saves."""
    assert packed(*[b"drop"] * 1000).count(MAGIC) == 1


def test_an_empty_stream_is_an_empty_gzip_file() -> None:
    assert gzip.decompress(packed()) == b""


def test_rows_take_little_more_than_by_gzip_6() -> None:
    """As the benchmark measures on 1 GB, with a few of its rows."""
    rows = sample_rows()
    assert len(packed(rows)) <= 1.07 * len(gzip.compress(rows, 6))


def test_zstd_takes_at_most_0_93_times_the_bytes_of_gzip() -> None:
    rows = sample_rows()
    assert len(packed(rows, by=compress_frame)) <= 0.93 * len(packed(rows))


def sample_rows() -> bytes:
    """Return five blocks of the rows of the benchmarks."""
    drawn = (row for rows in (books(1_000_000), sales(1_000_000)) for row in islice(rows, 20_000))
    rows = "\n".join("\t".join(map(str, row)) for row in drawn).encode()
    assert len(rows) > 5 * BLOCK
    return rows[: 5 * BLOCK]


def test_at_most_ten_blocks_are_in_progress() -> None:
    """The stream waits for the compressors, and memory stays bounded."""
    slow = threading.Event()

    def by(block: bytes) -> bytes:
        slow.wait(30)
        return gzip.compress(block)

    with ParallelCompressor(io.BytesIO(), by) as writer:
        for _ in range(10):
            writer.write(bytes(BLOCK))
        assert len(writer._under_way) == 10
        threading.Timer(0.2, slow.set).start()
        writer.write(bytes(BLOCK))
        assert slow.is_set()
        assert len(writer._under_way) <= 10


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no priority of its own")
def test_compressing_threads_have_a_lower_priority() -> None:
    """The dump program, its server and the site have priority; only the compressing threads yield."""
    before, seen = os.getpriority(os.PRIO_PROCESS, 0), set()

    def by(block: bytes) -> bytes:
        seen.add(os.getpriority(os.PRIO_PROCESS, 0))
        return gzip.compress(block)

    packed(*[bytes(BLOCK)] * 3, by=by)
    assert seen == {max(before, 10)}
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_the_error_of_a_failing_compressor_is_raised_and_ends_the_others() -> None:
    def broken(block: bytes) -> bytes:
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        packed(*[bytes(BLOCK)] * 20, by=broken)


def test_without_a_wheel_the_standard_library_compresses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "isal"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "isal", None)
    fresh = importlib.util.module_from_spec(importlib.util.find_spec(gzip_member.__name__))
    fresh.__spec__.loader.exec_module(fresh)
    rows = b"a row\n" * 1000
    assert fresh.compress_member(rows)[:8] == gzip.compress(rows, 6, mtime=0)[:8]
    assert gzip.decompress(fresh.compress_member(rows)) == rows
