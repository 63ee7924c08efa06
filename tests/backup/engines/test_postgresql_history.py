"""PostgreSQL keeps the history: claims under many tickers, and while the server is away."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections

from django_cfg.backup.errors import BackupError
from django_cfg.backup.services.catalog.places import list_backups
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.schedule.tick import TickReport, tick
from tests.support.django_project import Site
from tests.support.postgresql_databases import PostgreSQLServer

NOON = datetime(2026, 6, 1, 12, 0, 30, tzinfo=UTC)


@pytest.fixture
def scheduled(site: Site, own_postgresql_server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Due at noon, which it is."""
    monkeypatch.setattr(clock, "now", lambda: NOON)
    site.call("migrate", verbosity=0)
    site.configure(schedule={"cron": "0 * * * *"}, databases=[{"alias": "empty", "enabled": False}])
    return site


def test_many_tickers_make_one_backup_a_slot(scheduled: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[TickReport] = []

    def look() -> None:
        try:
            done.append(tick())
        finally:
            connections.close_all()

    for hour in range(3):
        monkeypatch.setattr(clock, "now", lambda hour=hour: NOON + timedelta(hours=hour))
        tickers = [threading.Thread(target=look) for _ in range(5)]
        for ticker in tickers:
            ticker.start()
        for ticker in tickers:
            ticker.join()
    assert [problem for ticked in done for problem in ticked.problems] == []
    assert [m.slot for m in list_backups()] == [NOON.replace(second=0) + timedelta(hours=h) for h in (2, 1, 0)]


def test_a_server_that_is_away_is_reported_and_made_up_for(
    scheduled: Site, own_postgresql_server: PostgreSQLServer
) -> None:
    """No claim, no run; the status needs no server, and the slot is served when it is back."""
    connections.close_all()
    own_postgresql_server.server.stop()
    assert {type(problem).__name__ for problem in tick().problems} == {"HistoryUnavailable"}
    with pytest.raises(BackupError):
        scheduled.create()
    assert scheduled.call("backup_status").code == 4
    connections.close_all()
    own_postgresql_server.server.start()
    assert not tick().problems
    assert [m.trigger for m in list_backups()] == ["scheduled"]
