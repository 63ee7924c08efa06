"""The folder of one run of the tests: the workers share what is in it, and what was started there ends with the run."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.support import run_guardian

_ROOM = 6_000_000_000  # bytes that servers and tests may come to need
_KEY = pytest.StashKey["Run"]()


class RunFolder:
    """As a worker has it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def locked(self, name: str) -> Iterator[Path]:
        """The folder of this name, which may not exist yet, for a block that one worker enters at a time."""
        with (self.path / f"{name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield self.path / name

    def new(self, name: str) -> Path:
        """Return a unique path below the folder."""
        return Path(mkdtemp(prefix=f"{name}-", dir=self.path)) / "server"


class Run:
    """As the process that leads the workers has it, or the only one. The guardian outlives it, and clears up."""

    def __init__(self) -> None:
        self.folder = Path(mkdtemp(prefix="tests-", dir=_place()))
        self.folder.chmod(0o711)  # a server's user has to pass through it
        argv = [sys.executable, "-I", run_guardian.__file__, str(self.folder)]
        self._guardian = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)

    def end(self) -> None:
        with suppress(BrokenPipeError):
            self._guardian.communicate(timeout=60)


def begin(config: pytest.Config) -> None:
    """Make the folder; ``tmp_path`` is in it too, unless the command names another one."""
    if not hasattr(config, "workerinput"):
        config.stash[_KEY] = run = Run()
        config.option.basetemp = config.option.basetemp or str(run.folder / "tmp")


def hand_on(config: pytest.Config, worker: dict[str, object]) -> None:
    """Let a worker know the folder."""
    worker["run_folder"] = str(config.stash[_KEY].folder)


def end(config: pytest.Config) -> None:
    if run := config.stash.get(_KEY, None):
        run.end()


def of(config: pytest.Config) -> RunFolder:
    worker = getattr(config, "workerinput", None)
    return RunFolder(Path(worker["run_folder"]) if worker else config.stash[_KEY].folder)


def _place() -> str:
    """Use memory if it is large enough: databases and backups are written through to the disk, thousands of times."""
    memory = "/dev/shm"
    has_room = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ROOM
    return memory if has_room else "/tmp"
