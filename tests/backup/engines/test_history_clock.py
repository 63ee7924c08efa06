"""Signs of life go by the database's clock: machines whose clocks differ do not bury each other's live runs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_cfg.backup.errors import AlreadyRunning
from django_cfg.backup.models import Run
from django_cfg.backup.process.deferred_signals import defer_signals
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.progress import SILENT, LiveProgress
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.runs import heartbeat, lease
from django_cfg.backup.services.schedule.tick import tick
from tests.support.django_project import Site
from tests.support.processes import wait_until
from tests.support.tiers import Fixture

FAR = timedelta(minutes=6)


@pytest.fixture(params=[Fixture("own_postgresql_server"), Fixture("own_mysql_server")])
def shared(request: pytest.FixtureRequest, site: Site) -> Iterator[Site]:
    """A project whose history is on a server; MariaDB's thinks in another time zone."""
    server: Any = request.getfixturevalue(request.param)
    is_mysql = "mysql" in request.param
    if is_mysql:
        server.server.sql("SET GLOBAL time_zone = '+05:00'")
    site.call("migrate", "django_cfg_backup", verbosity=0)
    yield site
    if is_mysql:
        server.server.sql("SET GLOBAL time_zone = 'SYSTEM'")


def machine(monkeypatch: pytest.MonkeyPatch, ahead: timedelta) -> None:
    """From now on this is a machine whose clock is wrong by so much."""
    monkeypatch.setattr(clock, "now", lambda: datetime.now(UTC) + ahead)


def begun(on: str = "db2") -> Run:
    """A run that the machine of this name has begun."""
    row = Run(project="tests", env="test", database="default")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: on)
        lease.begin(current_project(), row, f"{on}:1:2")
    return row


@pytest.mark.parametrize("use_tz", [True, False])
@pytest.mark.parametrize("ahead", [-FAR, FAR], ids=["behind", "ahead"])
def test_a_live_run_of_a_machine_with_another_clock_stays(
    shared: Site, monkeypatch: pytest.MonkeyPatch, ahead: timedelta, use_tz: bool
) -> None:
    shared.set(USE_TZ=use_tz)
    shared.close()
    machine(monkeypatch, ahead)
    row = begun()
    machine(monkeypatch, -ahead)
    assert tick().problems == []
    row.refresh_from_db()
    assert row.state == "running"
    with pytest.raises(AlreadyRunning):
        begun(on="db3")


@pytest.mark.parametrize("ahead", [-FAR, FAR], ids=["behind", "ahead"])
def test_a_dead_one_is_noticed_all_the_same(shared: Site, monkeypatch: pytest.MonkeyPatch, ahead: timedelta) -> None:
    row = begun()
    silent_since = heartbeat.shared_now() - lease.DEAD_AFTER - timedelta(seconds=1)
    Run.objects.filter(pk=row.pk).update(heartbeat_at=silent_since)
    machine(monkeypatch, ahead)
    tick()
    row.refresh_from_db()
    assert row.state == "failed"


def test_its_heart_beats_by_the_shared_clock(shared: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    row = begun()
    Run.objects.filter(pk=row.pk).update(heartbeat_at=None)
    monkeypatch.setattr(heartbeat, "INTERVAL", 0.01)
    machine(monkeypatch, timedelta(days=1))
    with heartbeat.heartbeats(row.pk, LiveProgress(SILENT, defer_signals()), lambda by: None):
        wait_until(lambda: Run.objects.get().heartbeat_at)
    row.refresh_from_db()
    assert row.heartbeat_at is not None
    assert abs(row.heartbeat_at - datetime.now(UTC)) < timedelta(minutes=1)
