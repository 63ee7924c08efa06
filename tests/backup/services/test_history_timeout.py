"""A history database that accepts connections and never answers delays a backup once, for seconds.

Without a time limit these tests would not end: the server never answers.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_cfg.backup import list_backups
from django_cfg.backup.errors import HistoryUnavailable
from django_cfg.backup.services.runs import reachability
from django_cfg.backup.services.schedule.tick import tick
from tests.support.django_project import Site

PATIENCE = 1.0


@pytest.fixture
def silent_server(site: Site, books: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A silent server, where the history is; the shop has its own database."""
    monkeypatch.setattr(reachability, "PATIENCE", PATIENCE)
    monkeypatch.setattr(reachability, "_silent", {})
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        silent = {"NAME": "history", "USER": "keeper", "HOST": "127.0.0.1", "PORT": listening.getsockname()[1]}
        site.use_databases(
            default={"ENGINE": "django.db.backends.postgresql", **silent},
            shop={"ENGINE": "django.db.backends.sqlite3", "NAME": str(books)},
        )
        yield listening
        site.close()


def connected(silent_server: socket.socket) -> int:
    """Return the number of connections."""
    silent_server.setblocking(False)
    found = 0
    try:
        while True:
            silent_server.accept()[0].close()
            found += 1
    except BlockingIOError:
        return found


def test_a_backup_waits_for_the_history_once(
    site: Site, silent_server: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = site.create("shop")
    assert list_backups() == [manifest]
    assert "the history of this run: its database 'default' does not answer" in caplog.text
    assert connected(silent_server) == 1


def test_a_tick_reports_the_silent_history(site: Site, silent_server: socket.socket) -> None:
    """There is no claim and no run, and the tick ends."""
    site.configure(databases=[{"alias": "default", "enabled": False}])
    ticked = tick(in_place=True)
    assert {type(problem) for problem in ticked.problems} == {HistoryUnavailable}
    assert "does not answer" in str(ticked.problems[0])
    assert list_backups() == []


def test_the_error_of_a_refused_connection_is_logged(
    site: Site, silent_server: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    silent_server.close()
    site.create("shop")
    assert "onnection refused" in caplog.text
