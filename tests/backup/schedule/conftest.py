"""A clock that the tests set, and servers that receive the notifications."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from django_cfg.backup.services.project import clock
from tests.support.django_project import Site
from tests.support.notification_servers import Mailbox, WebServer, load_apprise, mail_server, use_mail, web_server
from tests.support.redis_server import RedisServer
from tests.support.scheduled_verification import verify
from tests.support.stopped_clock import Clock


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock()
    monkeypatch.setattr(clock, "now", lambda: stopped.now)
    return stopped


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has its own folder for the marks of this machine."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))


@pytest.fixture
def hourly(site: Site, books: Path, time: Clock) -> Site:
    """A project whose one database is due at every full hour."""
    site.configure(schedule={"cron": "0 * * * *"})
    return site


@pytest.fixture
def drilled(hourly: Site) -> Site:
    """A project whose newest backup is drilled at every full hour, and that is backed up by hand."""
    verify(hourly)
    return hourly


@pytest.fixture(scope="session")
def apprise_is_loaded() -> None:
    load_apprise()


@pytest.fixture
def queued(hourly: Site, redis_server: RedisServer) -> Site:
    """The hourly project with RQ queues on an empty Redis; backups go to "backups"."""
    with redis_server.connect() as client:
        client.flushall()
    hourly.set(RQ_QUEUES={name: {"URL": redis_server.url} for name in ("default", "backups")})
    hourly.configure(schedule={"cron": "0 * * * *", "queue": "backups"})
    return hourly


@pytest.fixture
def mailbox(site: Site) -> Iterator[Mailbox]:
    with mail_server() as mailbox:
        use_mail(site, mailbox.port)
        yield mailbox


@pytest.fixture
def web() -> Iterator[WebServer]:
    with web_server() as server:
        yield server
