"""Drills keep their contract on every engine of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from django_cfg.backup import create_backup, drill_backup
from tests.backup.engines.contract import Server
from tests.backup.engines.drill_contract import DrillContract
from tests.backup.engines.postgresql_server import PostgreSQLServer
from tests.backup.engines.test_sqlite import SQLiteServer
from tests.sites import Site


def files(site: Site) -> set[Path]:
    """All that is beside the databases."""
    return {path for path in site.root.iterdir() if path.name != "backups"}


class TestSQLiteDrills(DrillContract):
    @pytest.fixture
    def server(self, site: Site) -> Server:
        return SQLiteServer(site, "delete")

    def traces(self, server: Server) -> list[str]:
        known = {"db.sqlite3", "empty.sqlite3"}
        return sorted(path.name for path in files(server.site) if path.name not in known)

    def test_the_database_itself_may_be_missing(self, server: Server) -> None:
        """And stays so: nothing is made in its place."""
        create_backup()
        server.site.close()
        server.site.database.unlink()
        before = files(server.site)
        assert drill_backup().succeeded
        assert files(server.site) == before


class TestPostgreSQLDrills(DrillContract):
    @pytest.fixture
    def server(self, postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
        return postgresql_server

    def traces(self, server: Server) -> list[str]:
        assert isinstance(server, PostgreSQLServer)
        return server.made("restoring") + server.made("before")
