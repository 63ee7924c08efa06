"""What a start of Django imports: a worker or a command that makes no backup pays for none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from django_cfg.backup import signals
from django_cfg.backup.services.monitoring.notifications import RECEIVERS

SETTINGS = """
from django_cfg import BackupConfig
SECRET_KEY = "x"
USE_TZ = True
BASE_DIR = {folder!r}
INSTALLED_APPS = ["django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
                  "django.contrib.sessions", "django.contrib.messages", "django_cfg.backup"]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {folder!r} + "/db.sqlite3"}}}}
BACKUP = BackupConfig(enabled=True)
"""
START = """
import json, sys
import django
django.setup()
if len(sys.argv) > 1:
    from django.core.management import call_command
    call_command(*sys.argv[1:])
print("\\n" + json.dumps(sorted(sys.modules)))
"""
# Of this package, what settings and the registration with Django need.
AT_START = {
    "django_cfg",
    "django_cfg.backup",
    "django_cfg.backup.admin",
    "django_cfg.backup.admin.access",
    "django_cfg.backup.admin.base",
    "django_cfg.backup.admin.runs",
    "django_cfg.backup.admin.views",
    "django_cfg.backup.apps",
    "django_cfg.backup.config",
    "django_cfg.backup.config.api",
    "django_cfg.backup.config.backup",
    "django_cfg.backup.config.encryption_key",
    "django_cfg.backup.config.filename_template",
    "django_cfg.backup.config.pgp_armor",
    "django_cfg.backup.config.schedule",
    "django_cfg.backup.config.storage",
    "django_cfg.backup.config.webhook",
    "django_cfg.backup.errors",
    "django_cfg.backup.formatting",
    "django_cfg.backup.models",
    "django_cfg.backup.services",
    "django_cfg.backup.services.project",
    "django_cfg.backup.services.project.clock",
    "django_cfg.backup.signals",
    "django_cfg.base_config",
    "django_cfg.checks",
    "django_cfg.environment",
    "django_cfg.not_provided",
}
EXTRAS = {
    "apprise", "backports.zstd", "celery", "compression.zstd", "django_tasks", "obstore", "psycopg", "pymysql",
    "health_check", "prometheus_client", "redis", "rq",
}  # fmt: skip
DEPENDENCIES = {"isal", "tqdm"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "start_settings.py").write_text(SETTINGS.format(folder=str(tmp_path)))
    return tmp_path


def imported(project: Path, *command: str) -> set[str]:
    """Return the modules of a process that has started Django, and has run *command* if there is one."""
    env = {"DJANGO_SETTINGS_MODULE": "start_settings", "PYTHONPATH": str(project)}
    argv = [sys.executable, "-c", START, *command]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_a_start_imports_the_models_and_the_configuration_alone(project: Path) -> None:
    """The admin's pages, the checks and the receivers of signals come when they are used."""
    modules = imported(project)
    assert {name for name in modules if name.partition(".")[0] == "django_cfg"} == AT_START
    assert not modules & (EXTRAS | DEPENDENCIES)


def test_listing_imports_no_other_vendor_and_no_extra(project: Path) -> None:
    imported(project, "migrate", "--verbosity=0")
    modules = imported(project, "backup_list")
    assert "django_cfg.backup.storage.local.storage" in modules
    assert not modules & EXTRAS
    others = ("s3", "gcs", "azure", "object_store", "rclone", "django.storage")
    for vendor in ("engines.postgresql.engine", "engines.mysql.engine", *(f"storage.{name}" for name in others)):
        assert f"django_cfg.backup.{vendor}" not in modules


def test_the_receivers_are_found_when_a_signal_is_sent() -> None:
    """Each of the signals that are connected at the start has one."""
    assert set(signals.NOTIFIED) == set(RECEIVERS)
    assert all(signal.has_listeners() for signal in signals.NOTIFIED)
