"""A project with Django's admin, served by a process of its own, for tests that use a browser."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import django

from tests.support.processes import wait_until
from tests.support.real_project import IMPORTED_FROM, MANAGE
from tests.support.server_process import end, free_port

USER, PASSWORD = "ada", "correct horse"
SETTINGS = """\
from pathlib import Path

from django_cfg import BackupConfig
from tests.support.admin_settings import ADMIN_SETTINGS
from tests.support.settings import *

BASE_DIR = Path(__file__).parent
globals().update(ADMIN_SETTINGS)
INSTALLED_APPS = [*{apps!r}, *INSTALLED_APPS]
MIDDLEWARE = [*{middleware!r}, *MIDDLEWARE]
{policy}
DEBUG = True  # static files are served
DATABASES = {databases!r}
BACKUP = BackupConfig(enabled=True, **{parameters!r})
{more}
"""
OWN_POLICY = django.VERSION >= (6, 0)
POLICY_MIDDLEWARE = (
    "django.middleware.csp.ContentSecurityPolicyMiddleware" if OWN_POLICY else "tests.support.csp_header.send_policy"
)
POLICY_SETTING = """SECURE_CSP = {"default-src": ["'self'"]}""" if OWN_POLICY else ""


class LiveAdmin:
    """A project in *folder*, and its server.

    :param unfold: with django-unfold, which does not work under a strict Content-Security-Policy.
    :param more: lines at the end of the settings.
    """

    def __init__(
        self, folder: Path, databases: dict[str, Any], *, unfold: bool = False, more: str = "", **parameters: Any
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.port = folder, free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        (folder / "manage.py").write_text(MANAGE)
        (folder / "settings.py").write_text(
            SETTINGS.format(
                apps=["unfold"] if unfold else [],
                middleware=[] if unfold else [POLICY_MIDDLEWARE],
                policy="" if unfold else POLICY_SETTING,
                databases=databases,
                parameters=parameters,
                more=more,
            )
        )
        (folder / "tmp").mkdir(exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    def manage(self, *arguments: str) -> str:
        """Run a command and return what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.folder, env=self._environment(), capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def prepare(self) -> None:
        """Make the tables, and the user that logs in."""
        self.manage("migrate", "--verbosity=0")
        self.manage("createsuperuser", "--noinput", "--verbosity=0")

    def start(self) -> None:
        with (self.folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{self.port}"],
                cwd=self.folder, env=self._environment(), stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        wait_until(self._answers, 60)

    def stop(self) -> None:
        if self._process:
            end(self._process)

    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5):
                return True
        except OSError:
            return False

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": IMPORTED_FROM,
            "TMPDIR": str(self.folder / "tmp"),  # the jobs of each project are apart
            "DJANGO_SUPERUSER_USERNAME": USER,
            "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
            "DJANGO_SUPERUSER_EMAIL": "ada@example.org",
        }
