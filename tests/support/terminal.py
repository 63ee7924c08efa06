"""A terminal, and a person at it."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.real_project import RealProject


@contextmanager
def terminal(project: RealProject, *arguments: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A command at a terminal; the number of its other end."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))  # no bar is drawn on one without a width
    try:
        process = project.start(*arguments, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        with process:
            try:
                yield ours, process
            finally:
                process.kill()
    finally:
        os.close(ours)


def read_until(ours: int, end: bytes) -> bytes:
    """What the command writes, up to *end*, or all when it ends before."""
    text = b""
    deadline = time.monotonic() + 20
    while end not in text and time.monotonic() < deadline:
        try:
            text += os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
    return text


class Terminal(io.StringIO):
    """A person who has typed something."""

    def isatty(self) -> bool:
        return True
