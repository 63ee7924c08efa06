"""A real project whose jobs are started by a process of its own, as by a web server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup.services.jobs.boards import FileBoard
from django_cfg.backup.services.jobs.job import Job, JobState
from tests.support.processes import wait_until
from tests.support.real_project import IMPORTED_FROM, RealProject

# Starts the jobs of its command line, says where they run, and ends when its standard input does.
LAUNCHER = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
import django
django.setup()
from django_cfg.backup.services.jobs.job import Job
from django_cfg.backup.services.jobs.launch import launch
from django_cfg.backup.services.project.project import current_project, operation
for text in sys.argv[1:]:
    with operation():
        print(launch(current_project(), Job.model_validate_json(text)).where, flush=True)
sys.stdin.read()
"""


class JobProject(RealProject):
    """The project; the boards of its jobs are those of this process."""

    def __init__(
        self, folder: Path, database: Path, patch: pytest.MonkeyPatch, more: str = "", **parameters: Any
    ) -> None:
        super().__init__(folder, database, more, **parameters)
        (folder / "tmp").mkdir()
        (folder / "launcher.py").write_text(LAUNCHER)
        self.variables = {**os.environ, "PATH": self.path, "PYTHONPATH": IMPORTED_FROM, "TMPDIR": str(folder / "tmp")}
        self.variables.pop("DJANGO_SETTINGS_MODULE", None)
        patch.setattr("tempfile.tempdir", str(folder / "tmp"))
        patch.setenv("TMPDIR", str(folder / "tmp"))

    def launcher(self, *jobs: Job) -> subprocess.Popen[str]:
        """A process that starts *jobs*, and goes on until its standard input is closed."""
        return subprocess.Popen(
            [sys.executable, "launcher.py", *(job.model_dump_json() for job in jobs)],
            cwd=self.folder,
            env=self.variables,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def launch(self, *jobs: Job) -> list[str]:
        """Start *jobs* from a process that ends at once; where they run."""
        with self.launcher(*jobs) as process:
            stdout, stderr = process.communicate("", timeout=60)
        assert process.returncode == 0, stderr
        return stdout.splitlines()

    def perform(self, job: Job) -> JobState:
        """Start *job*, and wait for its end."""
        self.launch(job)
        return self.end_of(job)

    def end_of(self, job: Job) -> JobState:
        wait_until(lambda: (state := FileBoard(job.id).read()) and state.has_ended, 60)
        return self.state(job)

    def state(self, job: Job) -> JobState:
        state = FileBoard(job.id).read()
        assert state is not None
        return state

    def log(self, job: Job) -> str:
        return FileBoard(job.id).log.read_text()
