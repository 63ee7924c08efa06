"""What to do is said with what went wrong."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.sqlite import connection
from django_cfg.backup.engines.sqlite.schema import list_tables
from django_cfg.backup.errors import DatabaseUnavailable, RestoreFailed
from django_cfg.backup.services.project.project import current_project
from tests.support.databases import BOOKS
from tests.support.django_project import Site
from tests.support.sqlite_databases import SQLiteServer
from tests.support.unprivileged import Unprivileged


@pytest.fixture
def server(site: Site) -> SQLiteServer:
    return SQLiteServer(site, "wal")


def test_a_log_in_a_folder_that_may_only_be_read(unprivileged: Unprivileged) -> None:
    with TemporaryDirectory() as name:
        path = Path(name) / "shop.sqlite3"
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA journal_mode = WAL")
            other.execute("CREATE TABLE book (id integer)")
        path.chmod(0o444)
        path.parent.chmod(0o555)
        database = Database("default", {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)})
        try:
            with (
                unprivileged(),
                pytest.raises(DatabaseUnavailable, match=r"readonly.*may write into its folder"),
                connection.open_database(database) as opened,
            ):
                list_tables(opened)
        finally:
            path.parent.chmod(0o700)


def test_text_of_another_encoding(server: SQLiteServer) -> None:
    """The complete backup can be restored; one table cannot."""
    path = server.path("empty")
    path.unlink()
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("PRAGMA encoding = 'UTF-16'")
        other.execute("CREATE TABLE book (id integer PRIMARY KEY, title varchar(100), author_id integer)")
        other.execute("INSERT INTO book VALUES (1, 'ü', 1)")
    create_backup("empty")
    with pytest.raises(RestoreFailed, match=r"another encoding.*Nothing was changed.*complete backup"):
        restore_backup("latest", database="empty", to="default", tables=["book"])
    assert server.count("book") == BOOKS
    restore_backup("latest", database="empty", to="default")
    assert server.run("SELECT title FROM book") == [("ü",)]


def test_a_lock_that_may_be_our_own(server: SQLiteServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LOCK_TIMEOUT", 0.1)
    server.site.sql("PRAGMA journal_mode = DELETE")
    with closing(sqlite3.connect(server.site.database, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with (
            pytest.raises(DatabaseUnavailable, match="locking_mode = EXCLUSIVE, it may be one of this process"),
            connection.open_database(current_project().database("default")) as opened,
        ):
            list_tables(opened)


def test_a_file_that_is_missing(server: SQLiteServer) -> None:
    for alias, command in (("default", "`migrate`"), ("empty", "`migrate --database empty`")):
        server.site.close()
        server.path(alias).unlink()
        with (
            pytest.raises(DatabaseUnavailable, match=f"run {command} to create it"),
            connection.open_database(current_project().database(alias)),
        ):
            pass
