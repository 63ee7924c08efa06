"""backup_check ends even if a server accepts connections and never answers."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from django_cfg.backup.services.catalog.catalog import Catalog
from django_cfg.backup.services.monitoring import preflight
from django_cfg.backup.storage.base import Storage
from tests.support.django_project import Site
from tests.support.real_project import MakeProject

SILENT_DATABASE = """
DATABASES["silent_server"] = {{
    "ENGINE": "django.db.backends.postgresql", "NAME": "shop", "USER": "shop", "HOST": "127.0.0.1", "PORT": {port}
}}
"""
# The checks are cut short after a moment: an app says so, as soon as the models can be imported.
HASTY = """
from django.apps import AppConfig

class Hasty(AppConfig):
    name = "hasty"

    def ready(self):
        from django_cfg.backup.services.monitoring import preflight
        preflight.DEADLINE = 2.0
"""
START = 15.0  # seconds for a process to start on a busy machine


@pytest.fixture
def silent_server() -> Iterator[int]:
    """Yield the port of a server that accepts every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        yield listening.getsockname()[1]


def test_silent_servers_fail_within_the_deadline(real_project: MakeProject, silent_server: int) -> None:
    storage = {
        "backend": "s3",
        "s3_bucket": "backups",
        "s3_region": "eu-central-1",
        "s3_endpoint_url": f"http://127.0.0.1:{silent_server}",
        "s3_access_key": "key",
        "s3_secret_key": "secret-key",
    }
    settings = SILENT_DATABASE.format(port=silent_server) + 'INSTALLED_APPS += ["hasty.Hasty"]\n'
    project = real_project(settings, storage=storage)
    (project.folder / "hasty.py").write_text(HASTY)
    begun = time.monotonic()
    done = project.run("backup_check", "--json")
    assert time.monotonic() - begun < 2 + START
    assert done.returncode == 1, done.stderr
    findings = {finding["subject"]: finding for finding in json.loads(done.stdout)}
    assert {subject: found["level"] for subject, found in findings.items()} == {
        "settings": "OK",
        "storage": "FAILED",
        "notify": "WARNING",
        "default": "OK",
        "silent_server": "FAILED",
    }
    assert "no answer within 2 s" in findings["storage"]["text"]


def test_results_from_before_the_timeout_are_printed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    read_catalog, over = preflight.read_catalog, threading.Event()

    def silent(storage: Storage) -> Catalog:
        over.wait()
        return read_catalog(storage)

    monkeypatch.setattr(preflight, "DEADLINE", 1.0)
    monkeypatch.setattr(preflight, "read_catalog", silent)
    answer = site.call("backup_check")
    over.set()
    assert answer.code == 1
    assert "OK       storage: " in answer.stdout
    assert "FAILED   storage: there was no answer within" in answer.stdout
    assert "OK       default" in answer.stdout


def test_an_unexpected_exception_is_not_swallowed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(storage: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(preflight, "read_catalog", explode)
    with pytest.raises(ZeroDivisionError):
        site.call("backup_check")
