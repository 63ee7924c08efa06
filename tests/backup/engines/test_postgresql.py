"""The PostgreSQL engine keeps the contract, on every server of this machine."""

from __future__ import annotations

import pytest

from tests.backup.engines.engine_contract import EngineContract
from tests.backup.engines.restore_contract import RestoreContract
from tests.support.postgresql_databases import PostgreSQLServer


class TestPostgreSQL(EngineContract):
    @pytest.fixture
    def server(self, postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
        return postgresql_server


class TestRestore(RestoreContract):
    @pytest.fixture
    def server(self, postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
        return postgresql_server


class TestRestoreInPlace(TestRestore):
    options = {"in_place": True, "discard_old": True}
    uses_staging = False


class TestRestoreOfTables(TestRestore):
    options = {"tables": ("book",), "discard_old": True}
    uses_staging = False
