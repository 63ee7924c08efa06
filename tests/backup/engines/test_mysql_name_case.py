"""A server that ignores case in names (Windows, most managed ones): NAME may have capitals that it does not store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.errors import RestoreFailed, RestoreRefused, UsageError
from tests.support.mysql_databases import MySQLServer


@pytest.fixture
def server(own_mysql_server: MySQLServer) -> Iterator[MySQLServer]:
    """Tables and a database created with capitals, and named with capitals in the settings."""
    server = own_mysql_server
    server.server.stop()
    server.server.start("--lower-case-table-names=1")
    server.databases = {alias: name.capitalize() for alias, name in server.databases.items()}
    server.use()
    server.run(
        "CREATE TABLE Writer (id int PRIMARY KEY)",
        "CREATE TABLE Novel (id int PRIMARY KEY, writer_id int, "
        "CONSTRAINT novel_writer FOREIGN KEY (writer_id) REFERENCES Writer (id))",
        "INSERT INTO Writer VALUES (1), (2)",
        "INSERT INTO Novel VALUES (1, 1)",
    )
    yield server
    server.server.stop()


def test_rows_that_others_refer_to_cannot_be_left_out(server: MySQLServer) -> None:
    server.site.configure(databases=[{"alias": "default", "exclude_tables": ["writer"]}])
    with pytest.raises(UsageError, match=r"leaves out the rows of writer, but rows of novel refer to them"):
        create_backup()


def test_rows_of_some_tables_keep_their_partners(server: MySQLServer) -> None:
    create_backup()
    server.run("SET foreign_key_checks = 0", "DELETE FROM Novel", "DELETE FROM Writer WHERE id = 1")
    with pytest.raises(RestoreFailed, match="1 rows would refer to rows that do not exist: novel to writer"):
        restore_backup("latest", tables=["novel"])
    assert server.count("Novel") == 0


def test_foreign_keys_of_other_schemas_are_seen(server: MySQLServer) -> None:
    create_backup()
    home = server.databases["default"]
    server.run(f"CREATE TABLE other (id int, FOREIGN KEY (id) REFERENCES {home}.Writer (id))", alias="empty")
    with pytest.raises(RestoreRefused, match=r"Tables of other schemas refer to tables of the database 'default'"):
        restore_backup("latest")


def test_the_round_trip(server: MySQLServer) -> None:
    before = server.text()
    create_backup()
    server.run("DELETE FROM Novel")
    report = restore_backup("latest", discard_old=True)
    assert report.old_data is None
    assert server.text() == before
    home = server.databases["default"].lower()
    assert not [name for (name,) in server.server.sql("SHOW DATABASES") if str(name).startswith(f"{home}__")]
