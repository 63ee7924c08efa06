"""Projects of many kinds, and every page of the admin in each: Django is imported once, and forked for each project."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import admin_visits
from tests.support.environment_mode import MODE_VARIABLES
from tests.support.real_project import IMPORTED_FROM

SETTINGS = """\
from pathlib import Path

from django_cfg import BackupConfig
from tests.support.admin_settings import ADMIN_SETTINGS
from tests.support.settings import *

BASE_DIR = Path(__file__).parent
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(BASE_DIR / "db.sqlite3")}}
globals().update(ADMIN_SETTINGS)
ROOT_URLCONF = "urls"
STATIC_ROOT = BASE_DIR / "static_root"
BACKUP = BackupConfig(enabled=True, signing_key="k" * 40)
"""
URLS = """\
from django.contrib import admin
from django.urls import path

urlpatterns = [path("admin/", admin.site.urls)]
"""


@dataclass(frozen=True)
class AdminProject:
    """What is different in a project."""

    settings: str = ""
    urls: str = URLS
    env: tuple[tuple[str, str], ...] = ()


def visit(folder: Path, projects: dict[str, AdminProject]) -> dict[str, dict[str, tuple[int, str]]]:
    """Return by project and page the status and the text that a superuser sees."""
    folders = {}
    for number, (name, project) in enumerate(projects.items()):
        folders[name] = folder / str(number)
        folders[name].mkdir()
        (folders[name] / "settings.py").write_text(SETTINGS + project.settings)
        (folders[name] / "urls.py").write_text(project.urls)
    given = json.dumps([(str(folders[name]), dict(project.env)) for name, project in projects.items()])
    argv = [sys.executable, "-W", "error", admin_visits.__file__]
    left_out = ("DJANGO_SETTINGS_MODULE", *MODE_VARIABLES)
    env = {name: value for name, value in os.environ.items() if name not in left_out}
    subprocess.run(
        argv, cwd=folder, env={**env, "PYTHONPATH": IMPORTED_FROM}, input=given, text=True, timeout=300, check=True
    )
    return {name: _read(place / "found.json") for name, place in folders.items()}


def _read(path: Path) -> dict[str, tuple[int, str]]:
    found: dict[str, Any] = json.loads(path.read_text())
    return {page: (status, text) for page, (status, text) in found.items()}
