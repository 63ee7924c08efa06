"""A backup before ``migrate`` on the servers, while the connection of ``migrate`` is open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from django_cfg.backup.services.catalog.places import list_backups
from tests.support.databases import BOOKS, Server
from tests.support.mysql_databases import MySQLServer
from tests.support.postgresql_databases import PostgreSQLServer
from tests.support.written_migrations import WrittenMigrations, written_migrations


class MigrateContract:
    """Inherit, and define the fixture ``server``."""

    @pytest.fixture
    def server(self) -> Server:
        raise NotImplementedError

    @pytest.fixture
    def shop(self, server: Server, tmp_path: Path) -> Iterator[WrittenMigrations]:
        with written_migrations(tmp_path) as shop:
            shop.write("0001_initial", "CREATE TABLE IF NOT EXISTS book (id integer)")
            shop.write("0002_lose_books", "DELETE FROM book")
            yield shop

    @pytest.mark.usefixtures("shop")
    @pytest.mark.parametrize("command", ["migrate", "backup_migrate"])
    def test_what_a_migration_deletes_comes_back(self, server: Server, command: str) -> None:
        server.site.configure(before_migrate="pending")
        assert server.site.call(command, run_syncdb=True, verbosity=0).code == 0
        (manifest,) = list_backups()
        assert (server.count("book"), manifest.note) == (0, "before sessions.0001_initial and 1 more")
        answer = server.site.call("backup_restore", manifest.name, "--disconnect", "--yes")
        assert answer.code == 0, answer.stderr
        assert server.count("book") == BOOKS

    @pytest.mark.usefixtures("shop")
    def test_an_empty_database_has_nothing_to_lose(self, server: Server) -> None:
        server.site.configure(before_migrate="pending")
        answer = server.site.call("migrate", "--database", "empty", run_syncdb=True)
        assert answer.code == 0, answer.stderr
        assert "it has no table yet, so there is nothing to lose" in answer.stdout
        assert list_backups() == []


class TestPostgreSQL(MigrateContract):
    @pytest.fixture
    def server(self, postgresql_server: PostgreSQLServer) -> Server:
        return postgresql_server


class TestMariaDB(MigrateContract):
    @pytest.fixture
    def server(self, mysql_server: MySQLServer) -> Server:
        return mysql_server
