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


def test_every_fourth_block_is_pressed_harder_however_busy_the_threads_are(monkeypatch: pytest.MonkeyPatch) -> None:
    busy, used = threading.Event(), []

    def compressor(name: str) -> gzip_members.Compressor:
        def compress(block: bytes) -> bytes:
            used.append(name)
            assert busy.wait(30)
            return gzip.compress(block)

        return compress

    monkeypatch.setattr(gzip_members, "threads", lambda: 1)
    monkeypatch.setattr(gzip_members, "_fast", compressor("fast"))
    monkeypatch.setattr(gzip_members, "_small", compressor("small"))
    monkeypatch.setattr(gzip_members, "_AHEAD", 100)
    with GzipMembers(io.BytesIO()) as writer:
        for _ in range(8):
            writer.write(bytes(BLOCK))
        busy.set()
    assert used == ["small", "fast", "fast", "fast"] * 2


def test_a_block_that_finds_no_other_is_pressed_harder(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    monkeypatch.setattr(gzip_members, "threads", lambda: 4)
    monkeypatch.setattr(gzip_members, "_small", lambda block: used.append("small") or gzip.compress(block))
    with GzipMembers(io.BytesIO()) as writer:
        for _ in range(6):
            writer.write(bytes(BLOCK))
            writer._under_way[-1].result()
    assert used == ["small"] * 6


def test_a_compressor_that_fails_is_told_and_ends_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(block: bytes) -> bytes:
        raise MemoryError("no room")

    monkeypatch.setattr(gzip_members, "_small", broken)
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
