"""gzip in members: one file to every reader, in the order of the stream, whatever the threads do."""

from __future__ import annotations

import gzip
import importlib.util
import io
import random
import sys
import threading

import pytest

from django_cfg.backup.pipeline import gzip_members
from django_cfg.backup.pipeline.gzip_members import GzipMembers
from django_cfg.backup.pipeline.stream import BLOCK

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


@pytest.mark.parametrize(("cores", "second"), [(1, "fast"), (2, "fast"), (4, "small")])
def test_a_block_is_pressed_harder_where_a_core_is_idle(
    cores: int, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On two cores none is: the dump tool and its server would wait for us."""
    used = []
    monkeypatch.setattr(gzip_members, "threads", lambda: cores)
    monkeypatch.setattr(gzip_members, "_fast", lambda block: used.append("fast") or gzip.compress(block))
    monkeypatch.setattr(gzip_members, "_small", lambda block: used.append("small") or gzip.compress(block))
    with GzipMembers(io.BytesIO()) as writer:
        for _ in range(3):
            writer.write(bytes(BLOCK))
            writer._under_way[-1].result()
    assert used == [second] * 3


def test_a_block_that_finds_others_under_way_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    busy, used = threading.Event(), []

    def small(block: bytes) -> bytes:
        used.append("small")
        assert busy.wait(30)
        return gzip.compress(block)

    monkeypatch.setattr(gzip_members, "threads", lambda: 4)
    monkeypatch.setattr(gzip_members, "_small", small)
    monkeypatch.setattr(gzip_members, "_fast", lambda block: used.append("fast") or gzip.compress(block))
    with GzipMembers(io.BytesIO()) as writer:
        for _ in range(4):
            writer.write(bytes(BLOCK))
        busy.set()
    assert sorted(used) == ["fast"] * 3 + ["small"]


def test_a_compressor_that_fails_is_told_and_ends_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(block: bytes) -> bytes:
        raise MemoryError("no room")

    monkeypatch.setattr(gzip_members, "_small", broken)
    monkeypatch.setattr(gzip_members, "_fast", broken)
    with pytest.raises(MemoryError, match="no room"):
        packed(*[bytes(BLOCK)] * 20)


@pytest.mark.parametrize("missing", ["isal", "deflate"])
def test_without_a_wheel_the_standard_library_serves(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    fresh = importlib.util.module_from_spec(importlib.util.find_spec(gzip_members.__name__))
    fresh.__spec__.loader.exec_module(fresh)
    chosen = {"isal": fresh._fast, "deflate": fresh._small}
    assert chosen[missing] is fresh._by_zlib
    assert gzip.decompress(chosen[missing](b"bytes")) == b"bytes"
