"""Reading from a program that writes small pieces, as dump tools do."""

from __future__ import annotations

import resource
import sys

import pytest

from django_cfg.backup.pipeline.stream import blocks
from django_cfg.backup.process.child import Child
from django_cfg.backup.process.pipes import BLOCK

# Pieces of 4 KiB, as fast as a database server hands out rows.
PIECES = """
import os, time
piece = bytes(4096)
for _ in range(256):
    for _ in range(20):
        os.write(1, piece)
        for _ in range(400): pass
"""


def waits() -> int:
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


@pytest.mark.skipif(not hasattr(resource, "RUSAGE_THREAD"), reason="only Linux counts a thread's waits")
def test_small_pieces_do_not_wake_the_reader_one_by_one() -> None:
    with Child([sys.executable, "-c", PIECES]) as child:
        before = waits()
        sizes = [len(block) for block in blocks(child.stdout)]
        child.wait()
    assert sum(sizes) == 256 * 20 * 4096
    assert set(sizes) == {BLOCK}
    assert waits() - before < 256 * 20 / 10


def test_the_last_bytes_and_the_end_arrive() -> None:
    with Child(["sh", "-c", "printf one; sleep 0.1; printf two; printf three"]) as child:
        assert child.stdout.read(3) == b"one"
        assert list(blocks(child.stdout)) == [b"twothree"]


def test_a_line_arrives_before_the_program_ends() -> None:
    with Child(["sh", "-c", "echo first; read line; echo $line"], feed=True) as child:
        assert child.stdout.readline() == b"first\n"
        child.stdin.write(b"second\n")
        child.stdin.close()
        assert child.stdout.readline() == b"second\n"
        assert child.stdout.read() == b""
