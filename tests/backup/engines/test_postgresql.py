"""The PostgreSQL engine keeps the contract, on every server of this machine."""

from __future__ import annotations

import pytest

from tests.backup.engines.engine_contract import EngineContract
from tests.backup.engines.restore_contract import InPlace, OfTables, RestoreContract
from tests.support.postgresql_databases import PostgreSQLServer


class TestPostgreSQL(EngineContract):
    @pytest.fixture
    def server(self, postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
        return postgresql_server


class TestRestore(RestoreContract):
    @pytest.fixture
    def server(self, postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
        return postgresql_server


class TestRestoreInPlace(InPlace, TestRestore): ...


class TestRestoreOfTables(OfTables, TestRestore): ...
