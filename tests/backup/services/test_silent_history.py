"""A history whose database accepts connections and never answers holds a backup up for seconds, once.

Without a bound these tests would not end: nobody ever answers.
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
def hole(site: Site, books: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The history is behind it; the shop has a database of its own."""
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


def connected(hole: socket.socket) -> int:
    """How many have tried."""
    hole.setblocking(False)
    found = 0
    try:
        while True:
            hole.accept()[0].close()
            found += 1
    except BlockingIOError:
        return found


def test_a_backup_waits_for_it_once(site: Site, hole: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    manifest = site.create("shop")
    assert list_backups() == [manifest]
    assert "the history of this run: its database 'default' does not answer" in caplog.text
    assert connected(hole) == 1


def test_a_tick_says_so(site: Site, hole: socket.socket) -> None:
    """No claim, no run; and no tick that never ends."""
    site.configure(databases=[{"alias": "default", "enabled": False}])
    ticked = tick(in_place=True)
    assert {type(problem) for problem in ticked.problems} == {HistoryUnavailable}
    assert "does not answer" in str(ticked.problems[0])
    assert list_backups() == []


def test_one_that_refuses_is_left_to_say_why(site: Site, hole: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    hole.close()
    site.create("shop")
    assert "onnection refused" in caplog.text
