"""What a start costs: ``backup_list`` against ``check`` of the same project, and the imports of this package."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Contender, Facts, Section, Table, in_turns
from benchmarks.project import CREATE

SETTINGS = """
from pathlib import Path
from django_cfg import BackupConfig
BASE_DIR = Path(__file__).parent
SECRET_KEY = "bench"
USE_TZ = True
APPS = ["admin", "auth", "contenttypes", "sessions", "messages"]
INSTALLED_APPS = [*(f"django.contrib.{app}" for app in APPS), "django_cfg.backup"]
MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware",
              "django.contrib.auth.middleware.AuthenticationMiddleware",
              "django.contrib.messages.middleware.MessageMiddleware"]
PROCESSORS = ["django.template.context_processors.request", "django.contrib.auth.context_processors.auth",
              "django.contrib.messages.context_processors.messages"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
              "OPTIONS": {"context_processors": PROCESSORS}}]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "bench.sqlite3"}}
BACKUP = BackupConfig(enabled=True)
"""
_BACKUPS = 10
_MOST_RATIO, _MOST_IMPORT = 1.3, 30.0  # milliseconds
_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| +(\S+)")
# Django alone first, and Pydantic's search for its plugins, which the first model of a process pays for: not ours.
# Nor is a garbage collection of all that Django has made, which would begin in one of our modules by chance.
_IMPORTS = """
import gc
gc.disable()
import pydantic
from pydantic import BaseModel
class First(BaseModel):
    pass
import django
django.setup()
"""


def sections(turns: int) -> Iterator[Section]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        (folder / "bench_settings.py").write_text(SETTINGS)
        env = {**os.environ, "DJANGO_SETTINGS_MODULE": "bench_settings", "PYTHONPATH": str(folder)}
        for command in (("migrate", "--verbosity=0"), *[CREATE] * _BACKUPS):
            subprocess.run([sys.executable, "-m", "django", *command], env=env, check=True, capture_output=True)
        contenders = [_command(name, env) for name in ("check", "backup_list")]
        table = Table("Start", f"A project with the admin and {_BACKUPS} backups", "check", in_turns(contenders, turns))
        ratio = table.rows[1].ratio
        slow = [f"backup_list takes {ratio:.2f} times as long as check"] if ratio > _MOST_RATIO else []
        yield Table(table.title, table.facts, table.baseline, table.results, slow)
        own = min(_own_imports(env) for _ in range(max(turns, 5)))  # all but the fastest was disturbed
        problems = [f"{own:.0f} ms, at most {_MOST_IMPORT:.0f}"] if own > _MOST_IMPORT else []
        line = f"{own:.0f} ms for the modules of this package in a start of Django with the admin (-X importtime)"
        yield Facts("Imports", [line], problems)


def _command(name: str, env: dict[str, str]) -> Contender:
    return Contender(name, [sys.executable, "-m", "django", name], lambda: None, lambda: 0, env)


def _own_imports(env: dict[str, str]) -> float:
    """Milliseconds."""
    command = [sys.executable, "-X", "importtime", "-c", _IMPORTS]
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    found = (_LINE.match(line) for line in done.stderr.splitlines())
    return sum(int(each[1]) for each in found if each and each[2].partition(".")[0] == "django_cfg") / 1000
