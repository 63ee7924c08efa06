"""Files written past the page cache are correct, whatever the file system supports."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from unittest.mock import Mock

import pytest

from django_cfg.backup.storage.local import direct_io
from django_cfg.backup.storage.local.direct_io import PIECE, UncachedFile

DIRECT = getattr(os, "O_DIRECT", 0)
SIZES = [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 4097]
Write = Callable[[int, memoryview], int]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.gz"


def content(size: int) -> bytes:
    return Random(size).randbytes(size)


def write(path: Path, data: bytes, block: int = 1 << 20) -> None:
    file = UncachedFile(path)
    try:
        for start in range(0, len(data), block):
            assert file.write(data[start : start + block]) == len(data[start : start + block])
        file.finish()
    finally:
        file.close()


def is_direct(descriptor: int) -> bool:
    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & DIRECT)


@pytest.fixture
def _direct(path: Path) -> None:
    """Skip unless the file system of the tests supports direct I/O."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | DIRECT))
        path.unlink()
    except OSError:
        pytest.skip("this file system writes through the cache only")
    if not DIRECT:
        pytest.skip("this system writes through the cache only")


def writing(monkeypatch: pytest.MonkeyPatch, act: Callable[[Write, int, memoryview], int]) -> list[tuple[bool, int]]:
    """Call *act* for every write; return what was written and whether past the cache."""
    real, seen = os.write, list[tuple[bool, int]]()

    def watched(descriptor: int, data: memoryview) -> int:
        seen.append((is_direct(descriptor), len(data)))
        return act(real, descriptor, data)

    monkeypatch.setattr(os, "write", watched)
    return seen


def faithfully(real: Write, descriptor: int, data: memoryview) -> int:
    return real(descriptor, data)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("block", [PIECE // 3, 1 << 20, 2 * PIECE + 1])
def test_every_byte_is_in_its_place(path: Path, size: int, block: int) -> None:
    write(path, content(size), block)
    assert path.read_bytes() == content(size)


@pytest.mark.usefixtures("_direct")
def test_full_blocks_bypass_the_cache_and_the_rest_uses_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files never bypass the cache."""
    seen = writing(monkeypatch, faithfully)
    write(path, content(2 * PIECE + 5))
    write(path.with_suffix(".json"), content(5))
    assert seen == [(True, PIECE), (True, PIECE), (False, 5), (False, 5)]


def test_a_file_system_without_direct_io(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written data is flushed piece by piece."""
    real, advised = fcntl.fcntl, list[tuple[int, ...]]()

    def refuse(descriptor: int, what: int, flags: int = 0) -> int:
        if what == fcntl.F_SETFL and flags:
            raise OSError(errno.EINVAL, "no")
        return real(descriptor, what, flags)

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    monkeypatch.setattr(os, "posix_fadvise", lambda _descriptor, *advice: advised.append(advice))
    seen = writing(monkeypatch, faithfully)
    write(path, content(2 * PIECE + 5))
    assert path.read_bytes() == content(2 * PIECE + 5)
    assert seen == [(False, PIECE), (False, PIECE), (False, 5)]
    assert [start for start, _size, _advice in advised] == [0, PIECE, 2 * PIECE]


def test_a_file_system_that_accepts_direct_io_and_refuses_the_write(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(real: Write, descriptor: int, data: memoryview) -> int:
        if is_direct(descriptor):
            raise OSError(errno.EINVAL, "no")
        return real(descriptor, data)

    writing(monkeypatch, refuse)
    write(path, content(3 * PIECE + 5))
    assert path.read_bytes() == content(3 * PIECE + 5)


@pytest.mark.usefixtures("_direct")
@pytest.mark.parametrize("refuses_the_rest", [False, True])
def test_a_write_may_be_short(path: Path, monkeypatch: pytest.MonkeyPatch, refuses_the_rest: bool) -> None:
    """The rest is written the same way, or through the cache if the disk refuses direct I/O."""

    def half(real: Write, descriptor: int, data: memoryview) -> int:
        if len(data) < PIECE and refuses_the_rest and is_direct(descriptor):
            raise OSError(errno.EINVAL, "no")
        return real(descriptor, data[: PIECE // 2])

    seen = writing(monkeypatch, half)
    write(path, content(2 * PIECE + 5))
    assert path.read_bytes() == content(2 * PIECE + 5)
    assert seen[:2] == [(True, PIECE), (True, PIECE // 2)]
    assert refuses_the_rest is ((False, PIECE // 2) in seen)


def test_a_disk_that_writes_nothing_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writing(monkeypatch, lambda real, descriptor, data: 0)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        write(path, b"x")


@pytest.mark.parametrize("pieces", [0.1, 1, 2, 5])
def test_a_write_error_is_raised(path: Path, monkeypatch: pytest.MonkeyPatch, pieces: float) -> None:
    """At the latest when the file is finished, and again on each later call."""

    def refuse(_real: Write, _descriptor: int, _data: memoryview) -> int:
        raise OSError(errno.EIO, "broken")

    writing(monkeypatch, refuse)
    file = UncachedFile(path)
    with pytest.raises(OSError, match="broken"):  # noqa: PT012
        for _ in range(int(pieces * 10)):
            file.write(bytes(PIECE // 10 + 1))
        file.finish()
    with pytest.raises(OSError, match="broken"):
        file.finish()
    file.close()


def test_a_failed_fsync_is_raised_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux reports it once; a second fsync must not appear to succeed."""
    file = UncachedFile(path)
    file.write(b"x")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", Mock(side_effect=OSError(errno.EIO, "broken")))
        with pytest.raises(OSError, match="broken"):
            file.finish()
    with pytest.raises(OSError, match="broken"):
        file.finish()
    file.close()


def test_a_failed_allocation_leaves_no_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_io, "mmap", Mock(side_effect=OSError(errno.ENOMEM, "no memory")))
    with pytest.raises(OSError, match="no memory"):
        UncachedFile(path)
    assert not path.exists()


def test_an_abandoned_file_leaves_no_thread_and_no_descriptor(path: Path) -> None:
    before = threading.active_count()
    file = UncachedFile(path)
    file.write(bytes(3 * PIECE))
    assert threading.active_count() == before + 1
    file.close()
    assert threading.active_count() == before
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(file.fileno())
