"""gzip in members: one file to every reader, in the order of the stream, whatever the threads do."""

from __future__ import annotations

import gzip
import importlib.util
import io
import os
import random
import sys
import threading
from itertools import islice

import pytest
from benchmarks.sample import books, sales

from django_cfg.backup.pipeline import parallel_gzip
from django_cfg.backup.pipeline.parallel_gzip import GzipMembers
from django_cfg.backup.process.pipes import BLOCK

MAGIC = b"\x1f\x8b\x08"


def packed(*blocks: bytes) -> bytes:
    sink = io.BytesIO()
    with GzipMembers(sink) as writer:
        for block in blocks:
            writer.write(block)
    return sink.getvalue()


def test_many_blocks_are_one_gzip_file_in_their_order() -> None:
    choose = random.Random(1)
    blocks = [choose.randbytes(100) * (BLOCK // 100) for _ in range(40)]
    assert gzip.decompress(packed(*blocks)) == b"".join(blocks)


def test_small_blocks_are_gathered() -> None:
    """A copy that is followed comes in drops; a member for each would cost more than it saves."""
    assert packed(*[b"drop"] * 1000).count(MAGIC) == 1


def test_an_empty_stream_is_an_empty_gzip_file() -> None:
    assert gzip.decompress(packed()) == b""


ONE_OF_FIVE = ["small", *["fast"] * 4, "small", "fast", "fast"]


@pytest.mark.parametrize(("cores", "by"), [(1, ONE_OF_FIVE), (2, ONE_OF_FIVE), (4, ["small"] * 8)])
def test_a_block_is_pressed_harder_where_a_core_is_idle(
    cores: int, by: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every one on four cores; on two, which the dump tool and its server keep busy, as many as the size needs."""
    used = []
    monkeypatch.setattr(parallel_gzip, "threads", lambda: cores)
    monkeypatch.setattr(parallel_gzip, "_fast", lambda block: used.append("fast") or gzip.compress(block))
    monkeypatch.setattr(parallel_gzip, "_small", lambda block: used.append("small") or gzip.compress(block))
    with GzipMembers(io.BytesIO()) as writer:
        for _ in range(8):
            writer.write(bytes(BLOCK))
            writer._under_way[-1].result()
    assert used == by


def test_rows_take_little_more_than_by_gzip_6() -> None:
    """What the benchmark measures on 1 GB, on a few of its rows."""
    drawn = (row for rows in (books(1_000_000), sales(1_000_000)) for row in islice(rows, 80_000))
    rows = "\n".join("\t".join(map(str, row)) for row in drawn).encode()
    blocks = [rows[at : at + BLOCK] for at in range(0, 20 * BLOCK, BLOCK)]  # four are pressed hard, as many as of 1 GB
    assert len(blocks[-1]) == BLOCK
    sink = io.BytesIO()
    with GzipMembers(sink) as writer:
        for block in blocks:
            writer.write(block)
            writer._under_way[-1].result()  # a server takes longer for the next one
    assert len(sink.getvalue()) <= 1.05 * len(gzip.compress(b"".join(blocks), 6))


@pytest.mark.parametrize(("share", "pressed"), [(0.0, 14), (0.5, 14), (0.6, 0), (1.0, 0)])
def test_none_is_where_the_stream_waits_for_us(share: float, pressed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block pressed harder keeps others waiting: those of a SQLite file's copy, which comes faster than any dump."""
    now, used = 0.0, []
    monkeypatch.setattr(parallel_gzip, "monotonic", lambda: now)
    monkeypatch.setattr(parallel_gzip, "threads", lambda: 2)
    monkeypatch.setattr(parallel_gzip, "_fast", lambda block: used.append("fast") or gzip.compress(block))
    monkeypatch.setattr(parallel_gzip, "_small", lambda block: used.append("small") or gzip.compress(block))
    with GzipMembers(io.BytesIO()) as writer:
        for _ in range(70):
            now += 1
            writer._waited += share
            writer.write(bytes(BLOCK))
    assert used.count("small") == pressed


def test_what_is_waited_for_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for which a block finds no room, since the compressors are behind."""
    slow = threading.Event()
    monkeypatch.setattr(parallel_gzip, "_fast", lambda block: slow.wait(30) and gzip.compress(block))
    monkeypatch.setattr(parallel_gzip, "_small", parallel_gzip._fast)
    with GzipMembers(io.BytesIO()) as writer:
        for _ in range(parallel_gzip._UNDER_WAY - 1):
            writer.write(bytes(BLOCK))
        assert writer._waited == 0
        threading.Timer(0.2, slow.set).start()
        writer.write(bytes(BLOCK))
        assert writer._waited >= 0.15


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no priority of its own")
def test_others_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dump tool, its server and the site: and nobody but the threads that compress stands back."""
    before, seen = os.getpriority(os.PRIO_PROCESS, 0), set()

    def by(block: bytes) -> bytes:
        seen.add(os.getpriority(os.PRIO_PROCESS, 0))
        return gzip.compress(block)

    monkeypatch.setattr(parallel_gzip, "_fast", by)
    monkeypatch.setattr(parallel_gzip, "_small", by)
    packed(*[bytes(BLOCK)] * 3)
    assert seen == {max(before, 10)}
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_a_compressor_that_fails_is_told_and_ends_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(block: bytes) -> bytes:
        raise MemoryError("no room")

    monkeypatch.setattr(parallel_gzip, "_small", broken)
    monkeypatch.setattr(parallel_gzip, "_fast", broken)
    with pytest.raises(MemoryError, match="no room"):
        packed(*[bytes(BLOCK)] * 20)


@pytest.mark.parametrize("missing", ["isal", "deflate"])
def test_without_a_wheel_the_standard_library_serves(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    fresh = importlib.util.module_from_spec(importlib.util.find_spec(parallel_gzip.__name__))
    fresh.__spec__.loader.exec_module(fresh)
    assert gzip.decompress(fresh._fast(b"bytes")) == gzip.decompress(fresh._small(b"bytes")) == b"bytes"
    assert (fresh._fast is fresh._by_zlib) is (missing == "isal")
