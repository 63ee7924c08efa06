"""The SQLite engine keeps the contract of a restore, in both journal modes."""

from __future__ import annotations

import pytest

from tests.backup.engines.restore_contract import RestoreContract
from tests.support.django_project import Site
from tests.support.sqlite_databases import SQLiteServer


class TestRestore(RestoreContract):
    @pytest.fixture(params=["delete", "wal"])
    def server(self, site: Site, request: pytest.FixtureRequest) -> SQLiteServer:
        return SQLiteServer(site, request.param)


class TestRestoreOfTables(TestRestore):
    options = {"tables": ("book",)}
