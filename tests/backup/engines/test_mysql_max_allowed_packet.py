"""Rows that are smaller than max_allowed_packet, and larger as SQL: said when they are backed up, refused early."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.mysql.dump_scanner import DumpScanner
from django_cfg.backup.errors import RestoreRefused
from tests.support.databases import fail_unless_equal
from tests.support.mysql_databases import MySQLServer

MIB = 1 << 20


@pytest.fixture
def server(own_mysql_server: MySQLServer) -> Iterator[MySQLServer]:
    limit = own_mysql_server.server.sql("SELECT @@GLOBAL.max_allowed_packet")[0][0]
    own_mysql_server.server.sql(f"SET GLOBAL max_allowed_packet = {4 * MIB}")
    yield own_mysql_server
    own_mysql_server.server.sql(f"SET GLOBAL max_allowed_packet = {limit}")


def test_a_row_that_does_not_come_back(server: MySQLServer, caplog: pytest.LogCaptureFixture) -> None:
    server.run(
        "CREATE TABLE attachment (id int, b longblob)", f"INSERT INTO attachment VALUES (1, REPEAT('x', {3 * MIB}))"
    )
    before = server.text()
    manifest = create_backup()
    assert "attachment: a row takes 6.3 MB as SQL, and this server takes 4.2 MB at once" in caplog.text
    assert 6 * MIB < manifest.engine.largest_statement < 6 * MIB + 100
    server.run("DELETE FROM book")
    for options in ({}, {"in_place": True}, {"tables": ["book"]}, {"to": "empty"}):
        with pytest.raises(RestoreRefused, match=r"Nothing was changed.*SET GLOBAL max_allowed_packet = 6292480$"):
            restore_backup(**options)  # type: ignore[arg-type]
    server.server.sql("SET GLOBAL max_allowed_packet = 6292480")
    restore_backup()
    fail_unless_equal(before, server.text())


def test_a_row_that_just_fits(server: MySQLServer, caplog: pytest.LogCaptureFixture) -> None:
    """What is not warned of comes back; a row one byte longer is warned of."""
    server.run("CREATE TABLE t (b longblob)", f"INSERT INTO t VALUES (REPEAT('x', {2 * MIB - 100}))")
    room = (4 * MIB - create_backup().engine.largest_statement - 1) // 2
    server.run(f"UPDATE t SET b = CONCAT(b, REPEAT('x', {room}))")
    assert create_backup().engine.largest_statement in (4 * MIB - 2, 4 * MIB - 1)
    assert "max_allowed_packet" not in caplog.text
    restore_backup(to="empty")
    assert server.run("SELECT LENGTH(b) FROM t", alias="empty") == [(2 * MIB - 100 + room,)]
    server.run("UPDATE t SET b = CONCAT(b, 'x')")
    create_backup()
    assert "max_allowed_packet" in caplog.text


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_largest_statement_is_that_of_one_insert(size: int) -> None:
    first, second = b"INSERT INTO `a` VALUES\n(1),\n(22);\n", b"INSERT INTO `b` VALUES\n(333333),\n(4444);\n"
    dump = first + b"UNLOCK TABLES;\n" + second + first
    scanner = DumpScanner()
    for at in range(0, len(dump), size):
        scanner.feed(dump[at : at + size])
    assert scanner.largest == (len(second), "b")


def test_the_check_compares_the_newest_backup_with_the_server(server: MySQLServer) -> None:
    """By its manifest: no row is read for it."""
    site = server.site
    site.configure(databases=[{"alias": "empty", "enabled": False}])
    server.run("CREATE TABLE t (b longblob)", f"INSERT INTO t VALUES (REPEAT('x', {3 * MIB}))")
    name = create_backup().name
    (warning,) = [line for line in site.call("backup_check", "--json").json if "max_allowed_packet" in line["text"]]
    assert (warning["level"], warning["subject"]) == ("WARNING", "default")
    assert warning["text"].startswith(f"{name} holds a row that takes 6.3 MB as SQL, and the server of the database ")
    assert warning["text"].endswith("SET GLOBAL max_allowed_packet = 6292480")
    server.server.sql("SET GLOBAL max_allowed_packet = 6292480")
    assert "max_allowed_packet" not in site.call("backup_check").stdout
