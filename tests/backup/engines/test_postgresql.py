"""The PostgreSQL engine: the contract on real servers, and what is special to PostgreSQL."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.backup.engines.contract import EngineContract, Server
from tests.servers import PostgreSQL
from tests.sites import Site

_numbers = itertools.count(1)


class PostgreSQLServer(Server):
    def __init__(self, site: Site, server: PostgreSQL) -> None:
        number = next(_numbers)
        self.server = server
        self.databases = {alias: f"{alias}_{number}" for alias in ("default", "empty")}
        for name in self.databases.values():
            server.sql(f"CREATE DATABASE {name} TEMPLATE template0")
        site.use_databases(**{alias: server.settings(name) for alias, name in self.databases.items()})
        site.always = {"tools_dir": str(server.programs)}
        site.configure()
        super().__init__(site)

    def run(self, *statements: str, alias: str = "default") -> list[tuple[Any, ...]]:
        with self.server.connect(self.databases[alias]) as connection, connection.transaction():
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def table_names(self, alias: str = "default") -> list[str]:
        query = (
            "SELECT schemaname || '.' || tablename FROM pg_tables "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY schemaname, tablename"
        )
        return [name for (name,) in self.run(query, alias=alias)]

    def drop(self) -> None:
        self.site.close()
        for name in self.databases.values():
            self.server.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def server(site: Site, postgresql: PostgreSQL) -> Iterator[PostgreSQLServer]:
    server = PostgreSQLServer(site, postgresql)
    yield server
    server.drop()


class TestPostgreSQL(EngineContract):
    @pytest.fixture
    def server(self, site: Site, postgresql: PostgreSQL) -> Iterator[Server]:
        server = PostgreSQLServer(site, postgresql)
        yield server
        server.drop()
