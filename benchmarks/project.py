"""A Django project to back up and to restore: its commands, begun when Django has been started, as a worker has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import Contender, folder_size

SETTINGS = """
from pathlib import Path
try:
    import pymysql
    pymysql.install_as_MySQLdb()
except ImportError:
    pass
from django_cfg import BackupConfig
BASE_DIR = Path(__file__).parent
SECRET_KEY = "bench"
USE_TZ = True
INSTALLED_APPS = ["django_cfg.backup", "dbbackup"]
DATABASES = {{"default": {database!r}}}
BACKUP = BackupConfig(enabled=True, project="bench", **{backup!r})
STORAGES = {{
    "default": {{"BACKEND": "django.core.files.storage.FileSystemStorage"}},
    "staticfiles": {{"BACKEND": "django.core.files.storage.FileSystemStorage"}},
    "dbbackup": {{
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {{"location": BASE_DIR / "out"}},
    }},
}}
"""
# The modules of the command are imported, too, before it says that it is ready.
_WORKER = """
import sys
import django
django.setup()
from django.core.management import call_command, get_commands, load_command_class
command = load_command_class(get_commands()[sys.argv[1]], sys.argv[1])
print("ready", flush=True)
sys.stdin.read()
call_command(command, *sys.argv[2:])
"""
# What checking pg_dump's format while it passes costs is the difference to this one.
_UNCHECKED = """
from django_cfg.backup.engines.postgresql import custom_format
custom_format.CustomFormatReader._feed = lambda reader, block: None
"""
CREATE = ("backup_create", "--verbosity=0")
RESTORE = ("backup_restore", "--yes", "--verbosity=0")
DRILL = ("backup_verify", "latest", "--drill", "--verbosity=0")
OTHERS_CREATE, OTHERS_RESTORE = ("dbbackup", "-z", "--quiet"), ("dbrestore", "-z", "--noinput", "--quiet")


def _nothing() -> None:
    return


@dataclass(frozen=True)
class Project:
    """The folder of a project, and the environment in which its commands run."""

    folder: Path
    env: dict[str, str]
    place: Path | None = None  # of its backups, where it is not below the folder

    @classmethod
    def make(
        cls,
        folder: Path,
        name: str,
        database: dict[str, Any],
        *,
        programs: Path | None = None,
        place: Path | None = None,
        **backup: Any,
    ) -> Project:
        project = folder / name.replace(" ", "_").replace(",", "")
        project.mkdir()
        if programs:
            backup["tools_dir"] = str(programs)
        (project / "bench_settings.py").write_text(SETTINGS.format(database=database, backup=backup))
        path = f"{programs}:{os.environ['PATH']}" if programs else os.environ["PATH"]
        own = {"DJANGO_SETTINGS_MODULE": "bench_settings", "PYTHONPATH": str(project), "PATH": path}
        return cls(project, {**os.environ, **own}, place)

    @property
    def _places(self) -> Iterable[Path]:
        return [self.place] if self.place else [self.folder / "backups", self.folder / "out"]

    def clear(self) -> None:
        for place in self._places:
            shutil.rmtree(place, ignore_errors=True)
        if self.place:
            self.place.mkdir()  # of a bucket, which has to be there

    def size(self) -> int:
        return sum(folder_size(place) for place in self._places if place.exists())

    def backing_up(self, name: str, command: Sequence[str] = CREATE, *, unchecked: bool = False) -> Contender:
        argv = self._argv(command, _UNCHECKED if unchecked else "")
        return Contender(name, argv, self.clear, self.size, self.env, waits=True)

    def restoring(
        self, name: str, command: Sequence[str] = RESTORE, prepare: Callable[[], None] = _nothing
    ) -> Contender:
        """A restore of the backup that is made now."""
        made_by = OTHERS_CREATE if command == OTHERS_RESTORE else CREATE
        subprocess.run([sys.executable, "-m", "django", *made_by], env=self.env, check=True, capture_output=True)
        return Contender(name, self._argv(command), prepare, lambda: 0, self.env, waits=True)

    @staticmethod
    def _argv(command: Sequence[str], first: str = "") -> list[str]:
        return [sys.executable, "-c", first + _WORKER, *command]


def piped(name: str, command: str, out: Path | None, env: dict[str, str] | None = None) -> Contender:
    """A shell command of stock tools that writes *out*."""

    def clear() -> None:
        if out:
            out.unlink(missing_ok=True)

    def size() -> int:
        return out.stat().st_size if out else 0

    return Contender(name, ["sh", "-c", command], clear, size, env)
