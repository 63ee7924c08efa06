"""Other connections during a restore: waited for, ended with --disconnect, and never shown a mixture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pymysql
import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.errors import RestoreFailed
from tests.support.databases import BOOKS
from tests.support.mysql_databases import MySQLServer

FORMS = pytest.mark.parametrize("in_place", [False, True], ids=["staging", "in place"])


@pytest.fixture
def server(mysql_server: MySQLServer) -> MySQLServer:
    """A backup was made, and rows deleted afterwards."""
    create_backup()
    mysql_server.run("DELETE FROM book WHERE id > 10")
    mysql_server.site.configure(lock_timeout=1)
    return mysql_server


@pytest.fixture
def holder(server: MySQLServer) -> Iterator[pymysql.Connection]:
    """A connection that has written to a table, and neither commits nor goes away."""
    with closing(server.connect()) as connection:
        connection.begin()
        connection.query("UPDATE book SET title = 'mine' WHERE id = 1")
        yield connection


@FORMS
def test_they_are_ended_with_disconnect(server: MySQLServer, holder: pymysql.Connection, *, in_place: bool) -> None:
    """And it is said before who they are, and when."""
    options = ["--in-place", "--discard-old"] if in_place else []
    answer = server.site.call("backup_restore", "--yes", "--disconnect", *options)
    assert answer.code == 0, answer.stderr
    when = "before the database is emptied" if in_place else "at the switch"
    assert f"1 connections are ended {when}: id {holder.thread_id()}: root from" in answer.stderr
    with pytest.raises(pymysql.Error):
        holder.query("SELECT 1")
    assert server.count("book") == BOOKS


def test_they_are_left_alone_otherwise(server: MySQLServer, holder: pymysql.Connection) -> None:
    with pytest.raises(RestoreFailed, match=r"Lock wait timeout.*as it was"):
        restore_backup()
    holder.commit()
    assert server.run("SELECT title FROM book WHERE id = 1") == [("mine",)]


def test_what_was_set_aside_is_listed(server: MySQLServer) -> None:
    """With its size, as long as it exists."""
    name = restore_backup().old_data
    answer = server.site.call("backup_status", "--json")
    (kept,) = answer.json["old_data"]
    assert (kept["database"], kept["name"], kept["unfinished"]) == ("default", name, False)
    assert kept["size"] > 10_000
    assert f"Old data of default: {name}, " in server.site.call("backup_status").stdout
    server.server.sql(f"DROP DATABASE `{name}`")
    assert server.site.call("backup_status", "--json").json["old_data"] == []
