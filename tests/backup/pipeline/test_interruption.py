"""A signal in the middle of a stream ends it, whatever thread holds which block."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from django_cfg.backup.config.backup import Compression

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


@pytest.mark.parametrize("method", ["gzip", "bz2", "xz", "none"])
def test_ctrl_c_ends_a_stream_with_a_slow_storage(method: Compression) -> None:
    with subprocess.Popen([sys.executable, "-c", PACK, method], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.4)  # the queues are full
        process.send_signal(signal.SIGINT)
        try:
            told, _ = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert told == "ended\n"
