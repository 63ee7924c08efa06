"""Timeouts that a role brings along end none of our long work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer

import pytest

from django_cfg.backup import create_backup, restore_backup
from tests.support.databases import BOOKS
from tests.support.postgresql_databases import PostgreSQLServer

SHORT, LONG = 1, 2.5  # seconds: what the role allows, and what the work takes
QUERY = f"SELECT count(*) FROM pg_sleep({LONG})"


@pytest.fixture
def server(postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
    """The project's role has every timeout its server knows."""
    role = postgresql_server.role("hasty", "SUPERUSER LOGIN PASSWORD 'pw'")
    names = ["statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"]
    names += ["transaction_timeout"] if postgresql_server.server.major >= 17 else []
    for name in names:
        postgresql_server.server.sql(f"ALTER ROLE {role} SET {name} = '{SHORT}s'")
    postgresql_server.use(USER=role, PASSWORD="pw")
    return postgresql_server


@contextmanager
def locked_for_long(server: PostgreSQLServer, tables: str) -> Iterator[None]:
    with server.connect() as connection:
        connection.execute("BEGIN")
        connection.execute(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")
        timer = Timer(LONG, connection.rollback)
        timer.start()
        yield
        timer.join()


def test_a_long_dump(server: PostgreSQLServer) -> None:
    with locked_for_long(server, "book"):
        create_backup()
    assert server.stored()


@pytest.mark.parametrize("tables", [[], ["book"]], ids=["complete", "tables"])
def test_a_long_restore_in_place(server: PostgreSQLServer, tables: list[str]) -> None:
    """It waits for a lock, and for a verification query."""
    create_backup()
    server.site.configure(databases=[{"alias": "default", "verification_queries": [QUERY]}])
    server.run("DELETE FROM book")
    with locked_for_long(server, "author, book"):
        restore_backup(in_place=not tables, tables=tables, discard_old=True)
    assert server.count("book") == BOOKS


def test_a_long_restore_into_a_staging_database(server: PostgreSQLServer) -> None:
    """While the scratch is asked, the connection that holds its lock has nothing to do."""
    create_backup()
    server.site.configure(databases=[{"alias": "default", "verification_queries": [QUERY]}])
    server.run("DELETE FROM book")
    assert restore_backup().old_data
    assert server.count("book") == BOOKS
