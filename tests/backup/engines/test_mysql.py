"""The MySQL engine keeps the contract, on a MariaDB server."""

from __future__ import annotations

import pytest

from tests.backup.engines.contract import EngineContract
from tests.backup.engines.mysql_server import MySQLServer


class TestMySQL(EngineContract):
    @pytest.fixture
    def server(self, mysql_server: MySQLServer) -> MySQLServer:
        return mysql_server
