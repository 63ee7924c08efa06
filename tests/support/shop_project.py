"""Real Django projects in a folder, and their commands run as a user would: in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
# The settings of the process that runs the tests are not those of the projects it starts.
_NOT_HANDED_ON = ("DJANGO_SETTINGS_MODULE", "ENV_MODE")


def make_project(folder: Path, config: str, urls: str = URLS) -> Path:
    """Write a project into *folder*; *config* is the text of the module that defines ShopConfig."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"manage": MANAGE, "settings": SETTINGS, "urls": urls, "shop_config": config}.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def manage(folder: Path, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run *folder*'s ``manage.py``, warnings being errors, *variables* added to the environment."""
    inherited = {name: value for name, value in os.environ.items() if name not in _NOT_HANDED_ON}
    return subprocess.run(
        [sys.executable, "-W", "error", "manage.py", *args],
        cwd=folder,
        env=inherited | variables,
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
