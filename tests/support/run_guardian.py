"""Ends the servers of a run of the tests and removes its folder as soon as the run is over, however that ended.

A program of its own: its input ends with the process that started it, also when that is killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path


def main(folder: Path) -> None:
    sys.stdin.buffer.read()
    noted = [note.read_text().split() for note in folder.rglob("process")]
    left = {int(pid): int(number) for pid, number in noted}
    deadline = time.monotonic() + 10
    for pid, number in left.items():
        _send(pid, number)
    while any(map(_is_running, left)) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in filter(_is_running, left):
        _send(pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _is_running(pid: int) -> bool:
    """Whether the process runs; an unreaped zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


if __name__ == "__main__":
    main(Path(sys.argv[1]))
