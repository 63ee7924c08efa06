"""A restore in place drops nothing that is not saved: all of it is backed up before, or the restore is refused."""

from __future__ import annotations

import pytest

from django_cfg.backup import create_backup, list_backups, restore_backup
from django_cfg.backup.errors import RestoreRefused
from tests.support.databases import BOOKS, fail_unless_equal
from tests.support.postgresql_databases import PostgreSQLServer

KINDS = {
    "1 functions": "CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "1 views": "CREATE VIEW v AS SELECT 1",
    "1 materialized views": "CREATE MATERIALIZED VIEW m AS SELECT 1",
    "1 sequences": "CREATE SEQUENCE s",
    "1 types": "CREATE TYPE mood AS ENUM ('ok')",
    "1 partitioned tables": "CREATE TABLE p (i int) PARTITION BY LIST (i)",
    "2 large objects": "SELECT lo_create(0), lo_create(0)",
    "1 foreign data wrappers": "CREATE FOREIGN DATA WRAPPER f",
    "1 foreign servers, 1 foreign tables": "CREATE SERVER f FOREIGN DATA WRAPPER file_fdw; "
    "CREATE FOREIGN TABLE ft (i int) SERVER f OPTIONS (filename '/dev/null')",
    "1 publications": "CREATE PUBLICATION p",
    "1 collations": 'CREATE COLLATION c FROM "C"',
    "1 text search configurations": "CREATE TEXT SEARCH CONFIGURATION c (COPY = simple)",
    "1 access methods": "CREATE ACCESS METHOD a TYPE TABLE HANDLER heap_tableam_handler",
    "1 text search parsers": "CREATE TEXT SEARCH PARSER p (START = prsd_start, GETTOKEN = prsd_nexttoken, "
    "END = prsd_end, LEXTYPES = prsd_lextype)",
    "1 text search templates": "CREATE TEXT SEARCH TEMPLATE t (LEXIZE = dsimple_lexize)",
    "1 transforms": "CREATE TRANSFORM FOR int LANGUAGE sql (FROM SQL WITH FUNCTION prsd_lextype(internal))",
}


@pytest.fixture
def server(postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
    return postgresql_server


def test_objects_without_a_table_are_not_dropped(server: PostgreSQLServer) -> None:
    """Without a table there is no backup before: without --discard-old the preview already refuses the restore."""
    server.run("CREATE EXTENSION file_fdw")
    create_backup()
    for name, script in KINDS.items():
        server.make_again("empty")
        server.run("CREATE EXTENSION file_fdw", script, alias="empty")
        before = server.text("empty")
        refusal = f"(?s)'empty' has no table, but {name}, which.*--in-place.*--discard-old"
        with pytest.raises(RestoreRefused, match=refusal):
            restore_backup(to="empty", in_place=True)
        fail_unless_equal(before, server.text("empty"))


def test_objects_without_a_table_are_dropped_when_asked(server: PostgreSQLServer) -> None:
    for alias in ("default", "empty"):
        server.run("CREATE EXTENSION file_fdw", alias=alias)
    create_backup()
    for script in KINDS.values():
        server.run(script, alias="empty")
    restore_backup(to="empty", in_place=True, discard_old=True)
    fail_unless_equal(server.text(), server.text("empty"))


def test_an_empty_database_and_what_extensions_bring_are_no_obstacle(server: PostgreSQLServer) -> None:
    server.run("CREATE EXTENSION hstore", "CREATE EXTENSION file_fdw", alias="empty")
    create_backup()
    restore_backup(to="empty", in_place=True)
    assert server.count("book", "empty") == BOOKS


def test_next_to_the_database_they_are_kept(server: PostgreSQLServer) -> None:
    create_backup()
    server.run(KINDS["1 functions"], alias="empty")
    assert restore_backup(to="empty").old_data


def test_the_backup_before_is_complete(server: PostgreSQLServer) -> None:
    """Whatever the settings leave out, by options of pg_dump too."""
    server.run("COMMENT ON TABLE book IS 'a comment'")
    server.site.configure(
        databases=[{"alias": "default", "exclude_tables": ["book"], "extra_options": ["--no-comments"]}]
    )
    create_backup()
    restore_backup(in_place=True)
    before, _ = list_backups()
    assert before.trigger == "before-restore"
    restore_backup(before.name)
    assert server.run("SELECT obj_description('book'::regclass)") == [("a comment",)]
    assert server.count("book") == BOOKS
