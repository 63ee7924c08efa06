"""Processes of throw-away servers: their port, their user and their end."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def as_server(command: Sequence[object]) -> None:
    """Run *command* as a user that servers agree to run as: they refuse root."""
    argv = unprivileged([str(part) for part in command])
    done = subprocess.run(argv, cwd="/", capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        raise RuntimeError(f"{argv} failed: {done.stdout}{done.stderr}")


def unprivileged(argv: list[str]) -> list[str]:
    """*argv* as the server's user runs it; the process keeps its id."""
    if os.geteuid() != 0:
        return argv
    user = server_user()
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *argv]


def server_user() -> pwd.struct_passwd:
    for name in ("postgres", "mysql", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("this machine has no user that a server could run as")


def give_to_server(folder: Path) -> None:
    """Let the server's user own *folder* and reach it."""
    if os.geteuid() != 0:
        return
    shutil.chown(folder, server_user().pw_uid, server_user().pw_gid)
    for path in folder.iterdir():
        shutil.chown(path, server_user().pw_uid, server_user().pw_gid)
    for parent in folder.parents[:-2]:
        parent.chmod(parent.stat().st_mode | 0o011)


def end(process: subprocess.Popen[bytes], within: float = 10) -> None:
    """End a server that the tests have started, by its process id."""
    process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + within
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    if process.poll() is None:
        process.kill()
        process.wait()
