"""A real project in a folder, whose ``manage.py`` runs in a process of its own."""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
IMPORTED_FROM = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))  # as in the tests

MANAGE = """\
import os
import signal
import sys

from django.core.management import execute_from_command_line

signal.signal(signal.SIGINT, signal.default_int_handler)  # as at a terminal, however the tests were started
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
execute_from_command_line(sys.argv)
"""
SETTINGS = """\
from pathlib import Path

from django_cfg import BackupConfig
from tests.support.settings import *

BASE_DIR = Path(__file__).parent
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": str(BASE_DIR / "db.sqlite3")}}}}
BACKUP = BackupConfig(enabled=True, **{parameters!r})
"""


class RealProject:
    """The project of ``tests.settings``, with the database *database* and *parameters* of BACKUP."""

    def __init__(self, folder: Path, database: Path, more: str = "", **parameters: object) -> None:
        folder.mkdir()
        shutil.copy(database, folder / "db.sqlite3")
        (folder / "manage.py").write_text(MANAGE)
        (folder / "settings.py").write_text(SETTINGS.format(parameters=parameters) + more)
        self.folder = folder
        self.database = folder / "db.sqlite3"
        self.backups = folder / "backups"
        self.path = os.environ["PATH"]

    def stored(self) -> list[str]:
        """All files of the storage, hidden ones too."""
        return sorted(str(path.relative_to(self.backups)) for path in self.backups.rglob("*") if path.is_file())

    def start(self, *arguments: str, **options: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error", "manage.py", *arguments],
            cwd=self.folder,
            env={**os.environ, "PATH": self.path, "PYTHONPATH": IMPORTED_FROM},
            text=True,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        with self.start(*arguments) as process:
            stdout, stderr = process.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)

    def shell(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run what follows ``manage.py`` in a command line of bash, with its redirections."""
        line = f"{shlex.quote(sys.executable)} -X dev -W error manage.py {command}"
        return subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env={**os.environ, "PATH": self.path, "PYTHONPATH": IMPORTED_FROM},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


MakeProject = Callable[..., RealProject]

RUNS = "SELECT state, message FROM django_cfg_backup_run ORDER BY id"


# A storage that takes its time: the process can be met in the middle of writing.
SLOW = """
import time
from django_cfg.backup.storage.local.partial_file import PartialFile

write = PartialFile.write

def slowly(self, block):
    count = write(self, block)
    (BASE_DIR / "writing").touch()
    time.sleep(600)
    return count

PartialFile.write = slowly
"""


# A compressor with a child of its own, which never comes to its end.
STUCK = """\
#!/bin/sh
sleep 600 &
echo $$ $! > {folder}/new && mv {folder}/new {folder}/writing
wait
"""


def sql(project: RealProject, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(project.database)) as connection:
        return connection.execute(query).fetchall()
