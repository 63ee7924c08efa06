"""A Django project to back up, and the two ways to do it: a command, and a worker that has been running for long."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import Contender, folder_size

CREATE = (sys.executable, "-m", "django", "backup_create", "--verbosity=0")
# As a worker of a queue or the scheduler does it: Django has been started long ago.
_WORKER = """
import sys
import django
django.setup()
from django_cfg.backup import create_backup
from django_cfg.backup.engines.postgresql import custom_format, schema
if "unchecked" in sys.argv:
    custom_format.CustomFormatReader._feed = lambda reader, block: None
if "uncounted" in sys.argv:
    schema.count_rows = lambda connection, names: {str(name): 0 for name in names}
print("ready", flush=True)
sys.stdin.read()
create_backup()
"""
WORKER = (sys.executable, "-c", _WORKER)
DBBACKUP = """
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "dbbackup": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": BASE_DIR / "out"},
    },
}
"""


def make_project(folder: Path, name: str, settings: str, programs: Path | None = None) -> tuple[Path, dict[str, str]]:
    """The project's own folder, and the environment in which its commands run."""
    project = folder / name.replace(" ", "_").replace(",", "")
    project.mkdir()
    (project / "bench_settings.py").write_text(settings)
    path = f"{programs}:{os.environ['PATH']}" if programs else os.environ["PATH"]
    return project, {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "bench_settings",
        "PYTHONPATH": str(project),
        "PATH": path,
    }


def backing_up(
    folder: Path,
    name: str,
    settings: str,
    command: Sequence[str] = CREATE,
    *,
    programs: Path | None = None,
    place: Path | None = None,
) -> Contender:
    """
    :param place: where the backups go; None: below the project's folder.
    """
    project, env = make_project(folder, name, settings, programs)
    places = [place] if place else [project / "backups", project / "out"]

    def clear() -> None:
        for found in places:
            shutil.rmtree(found, ignore_errors=True)
        if place:
            place.mkdir()  # of a bucket, which has to be there

    def size() -> int:
        return sum(folder_size(found) for found in places if found.exists())

    return Contender(name, command, clear, size, env, waits=command[:3] == WORKER)
