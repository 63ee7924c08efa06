"""Copying a stream, with its size and digest."""

from __future__ import annotations

import hashlib
import io
import random

import pytest

from django_cfg.backup.pipeline.stream import Digest, HashingReader, HashingWriter, drain, pump
from django_cfg.backup.process.pipes import BLOCK

CONTENTS = [b"", b"x", random.Random(26).randbytes(2 * BLOCK + 5)]


def digest(data: bytes) -> Digest:
    return Digest(len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("content", CONTENTS, ids=len)
def test_copied_bytes_are_counted_and_hashed_at_both_ends(content: bytes) -> None:
    """The bytes are unchanged."""
    sink = io.BytesIO()
    reader, writer = HashingReader(io.BytesIO(content)), HashingWriter(sink)
    pump(reader, writer)
    assert sink.getvalue() == content
    assert reader.digest == writer.digest == digest(content)


@pytest.mark.parametrize("content", CONTENTS, ids=len)
def test_draining_reads_to_the_end(content: bytes) -> None:
    reader = HashingReader(io.BytesIO(content))
    drain(reader)
    assert reader.digest == digest(content)


def test_reading_into_a_buffer_counts_what_was_read() -> None:
    """The last buffer is not full; bytes after its end are not counted."""
    reader, buffer = HashingReader(io.BytesIO(b"some words")), bytearray(7)
    assert [reader.readinto(buffer), bytes(buffer)] == [7, b"some wo"]
    assert [reader.readinto(memoryview(buffer)), bytes(buffer[:3])] == [3, b"rds"]
    assert reader.readinto(buffer) == 0
    assert reader.digest == digest(b"some words")


def test_progress_receives_the_bytes_of_each_block() -> None:
    passed: list[int] = []
    pump(HashingReader(io.BytesIO(bytes(BLOCK + 5)), passed.append), io.BytesIO())
    assert passed == [BLOCK, 5, 0]
