"""Packing and unpacking: every byte is counted and hashed at both ends, in bounded memory."""

from __future__ import annotations

import hashlib
import io
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from django_cfg.backup.config.backup import Compression
from django_cfg.backup.errors import VerificationFailed
from django_cfg.backup.manifest import Archive
from django_cfg.backup.pipeline.archive import check_stored, copy_stored, pack, unpack
from django_cfg.backup.pipeline.compression import SUFFIX, UNPACK_COMMAND
from tests.support import needs

PLAIN = b"".join(b"row %d\n" % number for number in range(30_000)) + random.Random(26).randbytes(100_000)
every_method = pytest.mark.parametrize("method", ["gzip", "zstd", "bz2", "xz", "none"])


def packed(method: Compression, plain: bytes = PLAIN) -> tuple[bytes, Archive]:
    """Return the stored bytes of *plain*, and their entry in the manifest."""
    sink = io.BytesIO()
    result = pack(io.BytesIO(plain), sink, method)
    return sink.getvalue(), Archive(
        key=f"shop.sqlite3{SUFFIX[method]}",
        size=result.stored.size,
        sha256=result.stored.sha256,
        raw_size=result.raw.size,
        raw_sha256=result.raw.sha256,
    )


def unpacked(stored: bytes, archive: Archive, method: Compression, at_once: int = 65536) -> bytes:
    content = b""
    with unpack(io.BytesIO(stored), archive, method) as plain:
        while block := plain.read(at_once):
            content += block
    return content


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@every_method
def test_both_digests_match_the_bytes(method: Compression) -> None:
    stored, archive = packed(method)
    assert (archive.raw_size, archive.raw_sha256) == (len(PLAIN), digest(PLAIN))
    assert (archive.size, archive.sha256) == (len(stored), digest(stored))


@every_method
def test_shell_programs_compute_the_same_digests(method: Compression, tmp_path: Path) -> None:
    """``sha256sum`` of the file, and of its decompressed content: a backup can be checked without this package."""
    stored, archive = packed(method)
    (tmp_path / archive.key).write_bytes(stored)
    needs.program(UNPACK_COMMAND[method].split()[0])
    commands = f"sha256sum < {archive.key}; {UNPACK_COMMAND[method]} {archive.key} | sha256sum"
    done = subprocess.run(["sh", "-c", commands], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split()[::2] == [archive.sha256, archive.raw_sha256]


@every_method
@pytest.mark.parametrize("at_once", [7919, 10_000_000])
def test_unpacking_returns_the_packed_bytes(method: Compression, at_once: int) -> None:
    """In many small reads and in one."""
    stored, archive = packed(method)
    assert unpacked(stored, archive, method, at_once) == PLAIN


@every_method
def test_progress_reports_all_bytes_in_both_directions(method: Compression) -> None:
    """Plain bytes while packing, stored bytes while unpacking."""
    stored, archive = packed(method)
    packed_counts: list[int] = []
    unpacked_counts: list[int] = []
    pack(io.BytesIO(PLAIN), io.BytesIO(), method, packed_counts.append)
    with unpack(io.BytesIO(stored), archive, method, unpacked_counts.append) as plain:
        while plain.read(65536):
            pass
    assert (sum(packed_counts), sum(unpacked_counts)) == (len(PLAIN), len(stored))


@every_method
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 1}, "stored bytes, its manifest says 1:"),
        ({"sha256": "0" * 64}, "The stored bytes of .* are not those"),
        ({"raw_size": 1}, "unpacks to more than the 1 bytes of its manifest"),
        ({"raw_size": len(PLAIN) + 1}, "unpacked bytes, its manifest says"),
        ({"raw_sha256": "0" * 64}, "The unpacked bytes of .* are not those"),
    ],
    ids=["size", "sha256", "less raw", "more raw", "raw_sha256"],
)
def test_other_bytes_than_the_manifest_says_are_damage(
    method: Compression, wrong: dict[str, object], message: str
) -> None:
    """The end of the stream is never reported before both digests were compared."""
    stored, archive = packed(method)
    with pytest.raises(VerificationFailed, match=message):
        unpacked(stored, archive.model_copy(update=wrong), method)


@every_method
@pytest.mark.parametrize("garbage", [b"\0", b"garbage", bytes(300_000)], ids=["one zero", "word", "many zeros"])
def test_bytes_after_the_end_are_damage(method: Compression, garbage: bytes) -> None:
    """gzip ignores zeros there, xz and bzip2 ignore anything, but the stored size differs."""
    stored, archive = packed(method)
    with pytest.raises(VerificationFailed):
        unpacked(stored + garbage, archive, method)


@every_method
@pytest.mark.parametrize("position", [0, 4, 9, 0.3, 0.7, -8, -1], ids=lambda where: f"at {where}")
def test_a_flipped_bit_is_damage(method: Compression, position: float) -> None:
    """Also in the header's time stamp, which no decompressor reads."""
    stored, archive = packed(method)
    damaged = bytearray(stored)
    damaged[int(position * len(stored)) if isinstance(position, float) else position] ^= 1
    with pytest.raises(VerificationFailed):
        unpacked(bytes(damaged), archive, method)
    with pytest.raises(VerificationFailed, match="SHA-256 differs"):
        check_stored(io.BytesIO(damaged), archive)


@every_method
@pytest.mark.parametrize("kept", [0, 1, 0.5, -1], ids=lambda kept: f"kept {kept}")
def test_a_truncated_archive_is_damage(method: Compression, kept: float) -> None:
    """Also an empty file, which gzip reads as an empty stream."""
    stored, archive = packed(method)
    cut = stored[: int(kept * len(stored)) if isinstance(kept, float) else int(kept)]
    with pytest.raises(VerificationFailed):
        unpacked(cut, archive, method)
    with pytest.raises(VerificationFailed, match="cut short"):
        check_stored(io.BytesIO(cut), archive)


def test_another_archive_in_its_place_is_damage() -> None:
    """It is complete and readable, but holds other data of the same length."""
    _, archive = packed("none")
    stored, _ = packed("none", PLAIN[::-1])
    with pytest.raises(VerificationFailed, match="damaged or replaced"):
        unpacked(stored, archive, "none")


def test_stored_bytes_are_copied_as_they_are() -> None:
    stored, archive = packed("gzip")
    sink = io.BytesIO()
    copy_stored(io.BytesIO(stored), sink, archive)
    assert sink.getvalue() == stored


PACK = """
import os, sys, time
from django_cfg.backup.pipeline.archive import pack

class Endless:
    def read(self, size=-1):
        return os.urandom(size)

class Slow:
    def write(self, block):
        time.sleep(0.02)
        return len(block)

print("ready", flush=True)
try:
    pack(Endless(), Slow(), sys.argv[1])
except KeyboardInterrupt:
    print("ended", flush=True)
"""


@pytest.mark.parametrize("method", ["gzip", "zstd", "bz2", "xz", "none"])
def test_ctrl_c_ends_a_stream_with_a_slow_storage(method: Compression) -> None:
    with subprocess.Popen([sys.executable, "-c", PACK, method], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.4)  # the queues are full
        process.send_signal(signal.SIGINT)
        try:
            output, _ = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert output == "ended\n"
