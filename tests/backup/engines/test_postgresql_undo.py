"""Undoing a restore on PostgreSQL: both databases get their new names in one transaction."""

from __future__ import annotations

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.errors import RestoreFailed
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.restore.undo import undo_restore
from tests.support.databases import BOOKS
from tests.support.postgresql_databases import PostgreSQLServer


@pytest.fixture
def restored(own_postgresql_server: PostgreSQLServer) -> str:
    """The old data of a restore: ten books of two hundred."""
    server = own_postgresql_server
    create_backup()
    server.run(
        "DELETE FROM book WHERE id > 10",
        f"ALTER DATABASE {server.databases['default']} SET work_mem = '5MB'",
    )
    old_data = restore_backup(disconnect=True).old_data
    assert server.count("book") == BOOKS
    assert old_data
    return old_data


def test_there_and_back(own_postgresql_server: PostgreSQLServer, restored: str) -> None:
    server = own_postgresql_server
    kept = undo_restore("default", restored).old_data
    assert server.count("book") == 10
    assert server.run("SHOW work_mem") == [("5MB",)]
    (only,) = current_project().engine("default").list_kept_data()
    assert kept == f"the database {only.name}"
    undo_restore("default", only.name)
    assert server.count("book") == BOOKS


def test_connections_stand_in_the_way(own_postgresql_server: PostgreSQLServer, restored: str) -> None:
    server = own_postgresql_server
    with server.connect():
        with pytest.raises(RestoreFailed, match="Other connections use the database 'default'"):
            undo_restore("default", restored)
        assert server.count("book") == BOOKS
        undo_restore("default", restored, disconnect=True)
    assert server.count("book") == 10
