"""Which tables a PostgreSQL dump holds, and what may be added to pg_dump's options."""

from __future__ import annotations

import re
from typing import Any

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.extra_options import check_extra_options, is_allowed
from django_cfg.backup.engines.postgresql.dump import OPTION_RULES
from django_cfg.backup.errors import DumpFailed, RestoreFailed, UsageError
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.process.redaction import without_value
from tests.support.databases import AUTHORS, BOOKS
from tests.support.postgresql_databases import PostgreSQLServer

EVENTS = """
CREATE SCHEMA shop; CREATE TABLE shop.book (i int); INSERT INTO shop.book VALUES (1);
CREATE TABLE audit_log (i int); CREATE TABLE "audit_Ö'dd $1.*" (i int);
INSERT INTO audit_log VALUES (1); INSERT INTO "audit_Ö'dd $1.*" VALUES (1);
CREATE TABLE event (n int) PARTITION BY RANGE (n);
CREATE TABLE event_low PARTITION OF event FOR VALUES FROM (0) TO (10) PARTITION BY LIST (n);
CREATE TABLE event_low_1 PARTITION OF event_low FOR VALUES IN (1);
CREATE TABLE event_rest PARTITION OF event DEFAULT; INSERT INTO event VALUES (1), (11), (12)
"""


@pytest.fixture
def server(postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
    return postgresql_server


def made(server: PostgreSQLServer, **parameters: Any) -> Manifest:
    """A backup of ``default``, *parameters* being those of its BackupDatabaseConfig."""
    server.site.configure(databases=[{"alias": "default", **parameters}])
    return create_backup()


@pytest.mark.parametrize(
    ("pattern", "emptied"),
    [
        ("shop.book", ["shop.book"]),
        ("shop.*", ["shop.book"]),
        ("audit_*", ["public.audit_log", "public.audit_Ö'dd $1.*"]),
        ("event", ["public.event_low_1", "public.event_rest"]),
        ("event_low", ["public.event_low_1"]),
        ("public.event_r*", ["public.event_rest"]),
    ],
)
def test_excluded_tables_keep_their_definition(server: PostgreSQLServer, pattern: str, emptied: list[str]) -> None:
    """Patterns name tables, with or without their schema; a partitioned table stands for its leaves."""
    server.run(EVENTS)
    names = server.table_names()
    manifest = made(server, exclude_tables=[pattern])
    assert sorted(manifest.excluded) == sorted(emptied)
    restore_backup()
    assert server.table_names() == names
    quoted = ('"' + name.replace(".", '"."', 1) + '"' for name in emptied)
    assert [server.count(name) for name in quoted] == [0] * len(emptied)
    assert server.count("event") == 3 - sum(
        {"public.event_low_1": 1, "public.event_rest": 2}.get(n, 0) for n in emptied
    )
    assert server.count("book") == BOOKS


def test_a_refused_exclusion_names_the_constraint(server: PostgreSQLServer) -> None:
    """Rows that stay would refer to rows left out: pg_restore would fail at that constraint."""
    with pytest.raises(UsageError, match=r"public\.author.*public\.book.*book_author_id_fkey"):
        made(server, exclude_tables=["author"])
    assert server.stored() == []


def test_included_tables_come_into_an_empty_database(server: PostgreSQLServer) -> None:
    """With their sequences, identities, partitions and schema; what the target holds besides tables stays."""
    server.run(
        EVENTS,
        "CREATE TYPE mood AS ENUM ('ok')",
        "CREATE TABLE shop.sold (id int GENERATED ALWAYS AS IDENTITY, old serial, m mood)",
        "INSERT INTO shop.sold (m) VALUES ('ok'), ('ok')",
    )
    manifest = made(server, include_tables=["shop.sold", "event"])
    assert [table.name for table in manifest.tables] == ["public.event_low_1", "public.event_rest", "shop.sold"]
    with pytest.raises(RestoreFailed, match=r"(?s)public\.mood.*does not exist.*[Cc]reate"):
        restore_backup(to="empty")
    server.run("CREATE TYPE mood AS ENUM ('ok')", alias="empty")
    restore_backup(to="empty")
    assert server.run("INSERT INTO shop.sold DEFAULT VALUES RETURNING id, old", alias="empty") == [(3, 3)]
    assert server.count("event", alias="empty") == 3


def test_an_included_table_needs_those_it_refers_to(server: PostgreSQLServer) -> None:
    """A foreign key into a table that is left out could not be restored: refused, the constraint named."""
    with pytest.raises(UsageError, match=r"public\.book.*public\.author.*book_author_id_fkey"):
        made(server, include_tables=["book"])
    assert made(server, include_tables=["book", "author"]).rows == AUTHORS + BOOKS


def test_allowed_options_reach_pg_dump(server: PostgreSQLServer) -> None:
    """What --no-comments and -O leave out is not there after the restore."""
    server.run("COMMENT ON TABLE book IS 'a comment'")
    made(server, extra_options=["--no-comments", "-O", "--quote-all-identifiers"])
    restore_backup(to="empty")
    assert server.run("SELECT obj_description('book'::regclass)", alias="empty") == [(None,)]


def test_pg_dump_itself_refuses_what_it_does_not_know(server: PostgreSQLServer) -> None:
    """An option that only pg_dump can judge fails there, in its words."""
    with pytest.raises(DumpFailed, match=r"'default'.*--no-such-option"):
        made(server, extra_options=["--no-such-option"])
    assert server.stored() == []


@pytest.mark.parametrize(
    "option",
    [
        "--file=x", "--fil=x", "-fx", "-f", "x", "--format=plain", "-Fp", "--dbname=other", "--dbn=o", "-dother",
        "--host=h", "-hh", "--port=1", "-p1", "--username=u", "-Uu", "--password", "-W", "--role=r", "--snapshot=s",
        "--table=t", "-tt", "-T", "--exclude-table-data=x", "--exclude-table-d=x", "--exclude-t=x", "--schema=s",
        "-nx", "--schema-only", "-s", "--data-only", "-a", "--section=data", "--jobs=2", "-j2", "--compress=9", "-Z9",
        "--clean", "-c", "--create", "-C", "--filter=f", "--lock-wait-timeout=0", "--enable-row-security", "--", "-",
        "", "--ex=x", "other_database", "--no-schema", "--no-data",
        "--no-unlogged-table-data", "--no-unl", "-B", "--no-large-objects", "--no-l", "--no-blobs", "--no-b",
        "--include-foreign-data=s", "--include-f=s", "--sync-method=fsync",
    ],
)  # fmt: skip
def test_refused_options_are_named(option: str) -> None:
    """Options that choose output, connection, format, tables or data, however they are spelt.

    A value may be a password, and is not told.
    """
    with pytest.raises(UsageError, match="extra_options of the database 'default'") as refusal:
        check_extra_options([option], "default", OPTION_RULES)
    assert repr(without_value(option)) in str(refusal.value)


# What may be added: the form of what is written, never how much of the data. Objects it leaves out are named by it.
ALLOWED = {
    "--verbose", "--large-objects", "--blobs", "--encoding", "--no-owner", "--superuser", "--no-privileges",
    "--column-inserts", "--disable-dollar-quoting", "--disable-triggers", "--extra-float-digits", "--inserts",
    "--load-via-partition-root", "--no-comments", "--no-policies", "--no-publications", "--no-security-labels",
    "--no-statistics", "--no-subscriptions", "--no-table-access-method", "--no-tablespaces",
    "--no-toast-compression", "--on-conflict-do-nothing", "--quote-all-identifiers", "--restrict-key",
    "--rows-per-insert", "--sequence-data", "--serializable-deferrable", "--statistics", "--strict-names",
    "--use-set-session-authorization",
}  # fmt: skip


def test_every_option_of_pg_dump_has_been_judged(server: PostgreSQLServer) -> None:
    """One that a new version brings may leave data out: nobody may add it unseen."""
    told = server.tool("pg_dump", "--help").stdout
    options = set(re.findall(r"--[a-z][a-z-]+", told))
    assert len(options) > 50
    assert {option for option in options if is_allowed(option, OPTION_RULES)} - ALLOWED == set()


def test_rows_on_another_server(server: PostgreSQLServer) -> None:
    """pg_dump never takes the rows of a foreign table, so that the manifest names it among what was left out."""
    server.run(
        "CREATE FOREIGN DATA WRAPPER none",
        "CREATE SERVER far FOREIGN DATA WRAPPER none",
        "CREATE TABLE parts (id int) PARTITION BY LIST (id)",
        "CREATE TABLE parts_here PARTITION OF parts FOR VALUES IN (1)",
        "CREATE FOREIGN TABLE parts_far PARTITION OF parts FOR VALUES IN (2) SERVER far",
        "INSERT INTO parts VALUES (1)",
    )
    assert create_backup().excluded == ("public.parts_far",)
    server.site.configure(databases=[{"alias": "default", "include_tables": ["book", "author"]}])
    assert create_backup().excluded == ()
