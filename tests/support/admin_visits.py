"""A program: visit every page of a superuser in each of the projects that its input names.

A project has a backup with a drill, a failed run and a run that is under way. What it finds is in found.json there.
"""

from __future__ import annotations

import io
import json
import os
import sys
import traceback
from typing import Any

import django
import django.contrib.admin
from django.core.management import call_command

import django_cfg  # noqa: F401  imported once, for all projects

Found = dict[str, tuple[int, str]]


def prepare() -> Any:
    """Return the run that made the backup."""
    from django.conf import settings

    from django_cfg.backup.models import Run

    call_command("migrate", verbosity=0)
    for command in getattr(settings, "FIRST", ()):
        call_command(*command, verbosity=0)
    call_command("backup_create", verbosity=0, stdout=io.StringIO())
    made = Run.objects.filter(kind="backup").get()
    call_command("backup_verify", made.name, "--drill", verbosity=0, stdout=io.StringIO())
    times = {"started_at": made.started_at, "finished_at": made.started_at}
    Run.objects.create(project=made.project, env=made.env, database="default", state="failed", message="no", **times)
    return made


def visit() -> Found:
    django.setup()
    from django.apps import apps
    from django.conf import settings

    made = prepare()
    if not apps.is_installed("django.contrib.admin"):
        call_command("check", stdout=io.StringIO())
        return {}
    return visit_pages(made, getattr(settings, "SITE_NAME", "admin"), is_secure=settings.SECURE_SSL_REDIRECT)


def visit_pages(made: Any, site: str, *, is_secure: bool) -> Found:
    from django.contrib.auth.models import User
    from django.test import Client
    from django.urls import reverse

    from django_cfg.backup.admin.runs import RunAdmin
    from django_cfg.backup.models import Run

    running = Run.objects.create(
        id=1234567, project=made.project, env=made.env, database="default", kind="restore", stage="loading",
        started_at=made.started_at, heartbeat_at=made.started_at, bytes_done=1234567, bytes_total=7654321,
    )  # fmt: skip
    client, anonymous = Client(headers={"host": "localhost"}), Client(headers={"host": "localhost"})
    client.force_login(User.objects.create_superuser("root", "root@example.org", "root"))
    found: Found = {"class": (200, RunAdmin.__mro__[1].__module__)}

    def address(name: str, *arguments: object) -> str:
        return reverse(f"admin:{name}", args=arguments, current_app=site)

    def ask(name: str, path: str, query: dict[str, Any], by: Client = client) -> None:
        answer = by.get(path, query, secure=is_secure)
        found[name] = (answer.status_code, answer.text)

    ask("index", address("index"), {})
    for name, query in queries(made.name).items():
        ask(name, address(f"django_cfg_backup_{name}"), query)
    ask("pick", address("django_cfg_backup_restore"), {})
    for name in ("run_change", "run_history", "run_state"):
        ask(name, address(f"django_cfg_backup_{name}", running.pk), {})
    job = client.post(address("django_cfg_backup_create"), secure=is_secure).headers["Location"]
    ask("job", job, {})
    ask("anonymous", address("django_cfg_backup_overview"), {}, anonymous)
    anonymous.cookies.update({key: morsel for key, morsel in client.cookies.items() if key.startswith("backup_job_")})
    ask("owner", job, {}, anonymous)
    return found


def queries(name: str) -> dict[str, dict[str, Any]]:
    return {
        "overview": {},
        "backups": {"q": "default"},
        "backup": {"name": name},
        "runs": {},
        "check": {},
        "retention": {"keep_daily": 365, "keep_weekly": 4, "keep_monthly": 6, "max_total_size_mb": 123456},
        "restore": {"backup": name},
        "undo": {"database": "default", "old_data": "x"},
        "download": {"name": name},
        "delete": {"name": "no-such-backup"},
    }


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
    for folder, env in json.load(sys.stdin):
        if not os.fork():
            os.chdir(folder)
            sys.path[0] = folder
            os.environ.update(env)
            sys.executable, sys.prefix = "", "/no-such-environment"  # jobs wait for a tick
            try:
                found = visit()
            except BaseException:  # noqa: BLE001  it is what the test shows
                found = {"error": (500, traceback.format_exc())}
            with open("found.json", "w") as file:  # noqa: PTH123
                json.dump(found, file)
            os._exit(0)
        os.wait()


if __name__ == "__main__":
    main()
