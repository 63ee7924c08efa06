"""Connections of our own: no receiver of the project takes them for the project's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.postgres.signals import register_type_handlers
from django.db import connections
from django.db.backends.signals import connection_created

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.errors import DatabaseUnavailable
from django_cfg.backup.services.verification.drill import drill_backup
from tests.support.databases import BOOKS
from tests.support.postgresql_databases import PostgreSQLServer


def ask_the_alias(connection: Any, **_: Any) -> None:
    """A receiver as projects have them: it uses the alias, not the connection that it gets."""
    with connections[connection.alias].cursor() as cursor:
        cursor.execute("SELECT 1")


@pytest.fixture(params=[register_type_handlers, ask_the_alias])
def server(postgresql_server: PostgreSQLServer, request: pytest.FixtureRequest) -> Iterator[PostgreSQLServer]:
    """The first of them is that of django.contrib.postgres."""
    connection_created.connect(request.param)
    yield postgresql_server
    connection_created.disconnect(request.param)


def lose(server: PostgreSQLServer) -> None:
    server.site.close()
    server.server.sql(f"DROP DATABASE {server.databases['default']} WITH (FORCE)")


def test_a_lost_database_is_restored(server: PostgreSQLServer) -> None:
    create_backup()
    lose(server)
    restore_backup()
    assert server.count("book") == BOOKS


def test_a_backup_of_a_lost_database_is_drilled(server: PostgreSQLServer) -> None:
    create_backup()
    lose(server)
    assert drill_backup().succeeded


def test_a_lost_database_that_cannot_be_made(postgresql_server: PostgreSQLServer) -> None:
    """The message says how to make it."""
    server = postgresql_server
    create_backup()
    lose(server)
    poor = server.role("poor")
    name = server.databases["default"]
    server.use(USER=poor, PASSWORD="pw")
    server.site.configure()
    with pytest.raises(DatabaseUnavailable, match=f"lost, create it: createdb {name}"):
        create_backup()
