"""The PostgreSQL engine keeps the contract, on every server of this machine."""

from __future__ import annotations

import pytest

from tests.backup.engines.contract import EngineContract
from tests.backup.engines.postgresql_server import PostgreSQLServer


class TestPostgreSQL(EngineContract):
    @pytest.fixture
    def server(self, postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
        return postgresql_server
