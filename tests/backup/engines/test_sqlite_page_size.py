"""A live file with a write-ahead log and another page size: the scratch is written again, its functions known."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.sqlite import staging
from django_cfg.backup.errors import RestoreFailed
from tests.support.databases import BOOKS
from tests.support.django_project import Site
from tests.support.sqlite_databases import SQLiteServer

# As Django makes them of a condition with `regex`, and of an index on Reverse().
SCHEMAS = {
    "a constraint": "CREATE TABLE sku (code text, CONSTRAINT ck CHECK (code REGEXP '^[A-Z]'))",
    "an index": "CREATE INDEX reversed ON book (REVERSE(title))",
    "a generated column": "CREATE TABLE sku (code text, md text GENERATED ALWAYS AS (MD5(code)) STORED)",
}

NUMBERED = (
    "CREATE TABLE note (body text)",
    "INSERT INTO note (rowid, body) VALUES (5, 'hello'), (7, 'world')",
    "CREATE VIRTUAL TABLE fts USING fts5 (body, content='note')",
    "INSERT INTO fts (fts) VALUES ('rebuild')",
)


@pytest.fixture
def server(site: Site) -> SQLiteServer:
    return SQLiteServer(site, "delete")


def rebuild(server: SQLiteServer, *statements: str) -> None:
    with closing(sqlite3.connect(server.site.database, isolation_level=None)) as connection:
        connection.create_function("REGEXP", 2, lambda pattern, text: True)
        connection.create_function("REVERSE", 1, lambda text: text[::-1], deterministic=True)
        connection.create_function("MD5", 1, lambda text: text, deterministic=True)
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize("statement", SCHEMAS.values(), ids=SCHEMAS)
@pytest.mark.parametrize("page_size", [512, 1024])
def test_a_schema_that_uses_djangos_functions(server: SQLiteServer, statement: str, page_size: int) -> None:
    server.site.close()
    rebuild(server, f"PRAGMA page_size = {page_size}", "VACUUM", statement)
    create_backup()
    server.site.database.unlink()
    rebuild(server, "PRAGMA page_size = 4096", "PRAGMA journal_mode = WAL", "CREATE TABLE later (i int)")
    restore_backup()
    assert server.run("PRAGMA page_size") == [(4096,)]
    assert server.run("PRAGMA journal_mode") == [("wal",)]
    assert server.count("book") == BOOKS


def test_rows_keep_their_numbers(server: SQLiteServer) -> None:
    """A full-text table refers to them; a table without any index has no other number for a row."""
    server.site.close()
    rebuild(server, "PRAGMA page_size = 1024", "VACUUM", *NUMBERED)
    create_backup()
    server.site.database.unlink()
    rebuild(server, "PRAGMA page_size = 4096", "PRAGMA journal_mode = WAL", "CREATE TABLE later (i int)")
    restore_backup()
    assert server.run("PRAGMA page_size") == [(4096,)]
    assert server.run("SELECT rowid, body FROM fts WHERE fts MATCH 'world'") == [(7, "world")]


def test_a_scratch_that_cannot_be_converted(server: SQLiteServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the scratch, and a way around."""
    server.site.close()
    rebuild(server, "PRAGMA page_size = 1024", "VACUUM", "CREATE TABLE sku (code text CHECK (code REGEXP 'x'))")
    create_backup()
    server.site.database.unlink()
    rebuild(server, "PRAGMA page_size = 4096", "PRAGMA journal_mode = WAL", "CREATE TABLE later (i int)")
    checking = staging.open_as_project

    def without_functions(path: Path, *arguments: Any, **options: bool) -> AbstractContextManager[sqlite3.Connection]:
        return checking(path, *arguments, **options) if options else closing(sqlite3.connect(path))

    monkeypatch.setattr(staging, "open_as_project", without_functions)
    with pytest.raises(RestoreFailed, match=r"page size of the database, 4096 bytes.*as it was.*move .*away"):
        restore_backup()
    assert server.run("SELECT name FROM sqlite_master") == [("later",)]
