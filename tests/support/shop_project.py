"""Real Django projects in a folder, and their commands run as a user would: in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.environment_mode import MODE_VARIABLES

MANAGE = """\
import os
import sys

from django.core.management import execute_from_command_line

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
execute_from_command_line(sys.argv)
"""
SETTINGS = """\
from shop_config import ShopConfig

globals().update(ShopConfig().get_all_settings())
"""
URLS = """\
from django.contrib import admin
from django.urls import path

urlpatterns = [path("admin/", admin.site.urls)]
"""
# ``manage.py check`` of many projects: Django is imported once, and each project is a fork of that.
CHECKS = """\
import json, os, sys, traceback
import django.contrib.admin, django_cfg
from django.core.management import execute_from_command_line

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
for folder, env in json.load(sys.stdin):
    if not os.fork():
        os.chdir(folder)
        sys.path[0] = folder
        os.environ.update(env)
        said = os.open("said", os.O_WRONLY | os.O_CREAT)
        os.dup2(said, 1)
        os.dup2(said, 2)
        try:
            execute_from_command_line(["manage.py", "check"])
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(0)
    os.wait()
"""
# The settings of the process that runs the tests are not those of the projects it starts.
_NOT_HANDED_ON = ("DJANGO_SETTINGS_MODULE", *MODE_VARIABLES)


def make_project(folder: Path, config: str, urls: str = URLS) -> Path:
    """Write a project into *folder*; *config* is the text of the module that defines ShopConfig."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"manage": MANAGE, "settings": SETTINGS, "urls": urls, "shop_config": config}.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def manage(folder: Path, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run *folder*'s ``manage.py``, warnings being errors, *variables* added to the environment."""
    return subprocess.run(
        [sys.executable, "-W", "error", "manage.py", *args],
        cwd=folder,
        env=_inherited() | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def succeed(folder: Path, *args: str, **variables: str) -> str:
    """Like :func:`manage`, and fail unless it ends with 0 and without a warning; its stdout."""
    done = manage(folder, *args, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout


@dataclass(frozen=True)
class Variant:
    """A project that differs a little from others: in its config, its environment, its .env file, its settings."""

    config: str
    env: dict[str, str] = field(default_factory=dict)
    dotenv: str = ""
    settings: str = ""


def check(folder: Path, variants: dict[str, Variant]) -> dict[str, str]:
    """What ``manage.py check`` says in each of the *variants*, all in one process, warnings being errors."""
    projects = {}
    for number, (name, variant) in enumerate(variants.items()):
        projects[name] = make_project(folder / str(number), variant.config)
        with (projects[name] / "settings.py").open("a") as file:
            file.write(variant.settings)
        if variant.dotenv:
            (projects[name] / ".env").write_text(variant.dotenv)
    given = json.dumps([(str(projects[name]), variant.env) for name, variant in variants.items()])
    argv = [sys.executable, "-W", "error", "-c", CHECKS]
    subprocess.run(argv, cwd=folder, env=_inherited(), input=given, text=True, timeout=120, check=True)
    return {name: (project / "said").read_text() for name, project in projects.items()}


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _NOT_HANDED_ON}
