"""A storage or a database that is away: each page answers within five seconds, says so, and shows the rest."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.conf import settings
from django.core.handlers.base import BaseHandler
from django.db import connections

from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.monitoring import snapshot
from tests.support.admin_pages import address, client_of, make_user
from tests.support.django_project import Site
from tests.support.processes import Stopwatch
from tests.support.server_process import free_port

LIMIT = 5.0  # seconds
Answers = dict[str, tuple[int, str]]


@pytest.fixture(params=["closed", "silent"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port where no server is, or one that accepts connections and never answers."""
    if request.param == "closed":
        yield free_port()
        return
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def ask(admin: Site, pages: dict[str, tuple[str, dict[str, Any]]]) -> Answers:
    """Ask for all pages at once, each as a user with a connection of its own; none may take longer than the limit."""
    root = make_user("root", is_superuser=True)
    clients = {name: client_of(root) for name in pages}

    def get(name: str) -> tuple[str, float, int, str]:
        path, query = pages[name]
        watch = Stopwatch()
        try:
            answer = clients[name].get(path, query)
            return name, watch.seconds, answer.status_code, answer.text
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(pages)) as pool:
        found = list(pool.map(get, pages))
    assert {name: round(took, 1) for name, took, _, _ in found if took > LIMIT} == {}
    return {name: (status, text) for name, _, status, text in found}


def test_the_storage_is_away(admin: Site, port: int) -> None:
    admin.configure(
        storage={
            "backend": "s3", "s3_bucket": "b", "s3_endpoint_url": f"http://127.0.0.1:{port}",
            "s3_access_key": "A" * 12, "s3_secret_key": "s" * 12,
        }
    )  # fmt: skip
    found = ask(
        admin,
        {
            "index": ("/admin/", {}),
            "overview": (address("overview"), {}),
            "backups": (address("backups"), {}),
            "backup": (address("backup"), {"name": "x"}),
            "delete": (address("delete"), {"name": "x"}),
            "download": (address("download"), {"name": "x"}),
            "runs": (address("runs"), {}),
            "retention": (address("retention"), {}),
            "restore": (address("restore"), {}),
            "check": (address("check"), {}),
        },
    )
    statuses = {name: status for name, (status, _) in found.items()}
    refused = {"backup": 409, "delete": 409, "download": 409}
    assert statuses == {**dict.fromkeys(found, 200), **refused}
    for name in ("overview", "backups", "backup", "delete", "download", "retention", "restore"):
        assert f"127.0.0.1:{port}" in found[name][1], name
    for name in ("backups", "restore", "retention"):
        assert "0 backups" not in found[name][1]
        assert "There is no such backup" not in found[name][1]
        assert "0 of 0" not in found[name][1]


def test_a_database_is_away(admin: Site, made: list[Manifest], port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # A busy machine may need all of the patience for the storage, which answers.
    read_storage = snapshot._read_storage
    monkeypatch.setattr(snapshot, "_read_storage", lambda project, patience: read_storage(project, 60.0))
    away = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "shop",
        "USER": "u",
        "PASSWORD": "p",
        "HOST": "127.0.0.1",
    }
    admin.use_databases(**{**settings.DATABASES, "away": {**away, "PORT": str(port)}})
    name = made[1].name
    found = ask(
        admin,
        {
            "index": ("/admin/", {}),
            "overview": (address("overview"), {}),
            "one database": (address("overview"), {"database": "away"}),
            "backups": (address("backups"), {}),
            "backup": (address("backup"), {"name": name}),
            "runs": (address("runs"), {}),
            "retention": (address("retention"), {}),
            "restore": (address("restore"), {"backup": name}),
            "restore there": (address("restore"), {"backup": name, "to": "away"}),
            "undo": (address("undo"), {"database": "away", "old_data": "x"}),
        },
    )
    assert {name: status for name, (status, _) in found.items()} == dict.fromkeys(found, 200)
    assert f'name={name}"' in found["overview"][1]
    assert "away" in found["overview"][1]
    assert name in found["backups"][1]
    assert "What will happen" in found["restore"][1]
    assert "What will happen" not in found["restore there"][1]


def test_the_page_of_a_job_begins_no_transaction_in_any_database(admin: Site) -> None:
    """A restore may be replacing each of them."""
    admin.use_databases(**{**settings.DATABASES, "other": {**settings.DATABASES["default"], "ATOMIC_REQUESTS": True}})
    from django.contrib.admin import site  # only while the app is installed

    from django_cfg.backup.admin.views import job_view, page_view

    job, other, handler = job_view("job_page.page", site), page_view("overview.page", site), BaseHandler()
    assert handler.make_view_atomic(job) is job
    assert handler.make_view_atomic(other) is not other
