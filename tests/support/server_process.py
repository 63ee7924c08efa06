"""The process of a throw-away server: its port, its user, its start and its end."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from tests.support import tiers
from tests.support.processes import is_running

# Starts a detached program and prints its process id: it outlives the worker that needed it first.
_DETACH = """
import os, sys
pid = os.fork()
if pid:
    print(pid, flush=True)
    os._exit(0)
os.setsid()
os.dup2(2, 1)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class ServerProcess:
    """A server that any process may end: its process id is in *folder*, where the run's guardian finds it too.

    :param end_by: the signal that ends it at once.
    """

    def __init__(self, folder: Path, end_by: signal.Signals) -> None:
        self._note, self._log, self._end_by = folder / "process", folder / "log", end_by

    @property
    def pid(self) -> int | None:
        with suppress(FileNotFoundError):
            return int(self._note.read_text().split()[0])
        return None

    def is_running(self) -> bool:
        return self.pid is not None and is_running(self.pid)

    def start(self, argv: Sequence[str], is_ready: Callable[[], bool]) -> None:
        """Start it as a user that servers agree to run as, and wait until it is ready.

        :raises RuntimeError: it ends before that; with its last log lines.
        """
        tiers.fail_unless_foreseen()
        with self._log.open("ab") as log:
            command = [sys.executable, "-I", "-S", "-c", _DETACH, *unprivileged(list(argv))]
            pid = subprocess.run(
                command, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, check=True
            ).stdout
        self._note.write_text(f"{int(pid)} {int(self._end_by)}")
        deadline = time.monotonic() + 60
        while not is_ready():
            if not self.is_running() or time.monotonic() > deadline:
                raise RuntimeError(f"{argv[0]} does not start: {self.last_words()}")
            time.sleep(0.01)

    def end(self, by: signal.Signals | None = None, within: float = 30) -> None:
        """End it, if it runs, and wait until it is gone."""
        pid = self.pid
        if pid is None:
            return
        with suppress(ProcessLookupError):
            os.kill(pid, by or self._end_by)
        deadline = time.monotonic() + within
        while is_running(pid):
            if time.monotonic() > deadline:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)
        self._note.unlink(missing_ok=True)

    def last_words(self) -> str:
        return self._log.read_text(errors="replace")[-8000:]


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
    """End a child of ours, by its process id."""
    process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + within
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    if process.poll() is None:
        process.kill()
        process.wait()
