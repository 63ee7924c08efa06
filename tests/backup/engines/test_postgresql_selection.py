"""Which tables a PostgreSQL dump holds, and what may be added to pg_dump's options."""

from __future__ import annotations

import subprocess

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.postgresql.dump import OPTION_RULES
from django_cfg.backup.errors import RestoreFailed
from tests.backup.engines.selection_contract import ExtraOptionsContract, SelectionContract, made
from tests.support.databases import BOOKS
from tests.support.postgresql_databases import PostgreSQLServer
from tests.support.postgresql_server import postgresql_programs

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


class TestSelection(SelectionContract):
    constraint = "book_author_id_fkey"
    trigger_needs = (
        "CREATE FUNCTION add_one() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.i = NEW.i + 1; RETURN NEW; END'",
    )
    trigger = ("CREATE TRIGGER on_audit BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION add_one()",)

    @pytest.fixture
    def server(self, postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
        return postgresql_server


class TestExtraOptions(ExtraOptionsContract):
    rules = OPTION_RULES
    given = ("--no-comments", "-O", "--quote-all-identifiers")
    refused = (
        "--file=x", "--fil=x", "-fx", "-f", "x", "--format=plain", "-Fp", "--dbname=other", "--dbn=o", "-dother",
        "--host=h", "-hh", "--port=1", "-p1", "--username=u", "-Uu", "--password", "-W", "--role=r", "--snapshot=s",
        "--table=t", "-tt", "-T", "--exclude-table-data=x", "--exclude-table-d=x", "--exclude-t=x", "--schema=s",
        "-nx", "--schema-only", "-s", "--data-only", "-a", "--section=data", "--jobs=2", "-j2", "--compress=9", "-Z9",
        "--clean", "-c", "--create", "-C", "--filter=f", "--lock-wait-timeout=0", "--enable-row-security", "--", "-",
        "", "--ex=x", "other_database", "--no-schema", "--no-data",
        "--no-unlogged-table-data", "--no-unl", "-B", "--no-large-objects", "--no-l", "--no-blobs", "--no-b",
        "--include-foreign-data=s", "--include-f=s", "--sync-method=fsync",
    )  # fmt: skip
    # The form of what is written, never how much of the data. Objects it leaves out are named by it.
    judged = {
        "--verbose", "--large-objects", "--blobs", "--encoding", "--no-owner", "--superuser", "--no-privileges",
        "--column-inserts", "--disable-dollar-quoting", "--disable-triggers", "--extra-float-digits", "--inserts",
        "--load-via-partition-root", "--no-comments", "--no-policies", "--no-publications", "--no-security-labels",
        "--no-statistics", "--no-subscriptions", "--no-table-access-method", "--no-tablespaces",
        "--no-toast-compression", "--on-conflict-do-nothing", "--quote-all-identifiers", "--restrict-key",
        "--rows-per-insert", "--sequence-data", "--serializable-deferrable", "--statistics", "--strict-names",
        "--use-set-session-authorization",
    }  # fmt: skip

    @pytest.fixture
    def server(self, postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
        return postgresql_server

    def print_help(self) -> str:
        program = postgresql_programs()[-1] / "pg_dump"
        return subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout


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
def test_patterns_name_schemas_and_partitions(server: PostgreSQLServer, pattern: str, emptied: list[str]) -> None:
    """Patterns name tables, with or without their schema; a partitioned table means its leaves."""
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


def test_included_tables_bring_what_belongs_to_them(server: PostgreSQLServer) -> None:
    """Their sequences, identities, partitions and schema; a type that they need has to be in the target."""
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


def test_what_the_options_leave_out(server: PostgreSQLServer) -> None:
    """A comment that --no-comments leaves out is not in the restored database."""
    server.run("COMMENT ON TABLE book IS 'a comment'")
    made(server, extra_options=["--no-comments", "-O"])
    restore_backup(to="empty")
    assert server.run("SELECT obj_description('book'::regclass)", alias="empty") == [(None,)]


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
