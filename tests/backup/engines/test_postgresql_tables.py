"""Some tables of a backup into a PostgreSQL database as it is."""

from __future__ import annotations

from contextlib import AbstractContextManager

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.postgresql.column_types import find_changed, find_types
from django_cfg.backup.errors import VerificationFailed
from tests.backup.engines.tables_contract import ServerTablesContract, restore
from tests.support.databases import BOOKS, fail_unless_equal
from tests.support.postgresql_databases import PostgreSQLServer


@pytest.fixture
def server(postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
    return postgresql_server


MIGHT_CHANGE = "might not stay the same: changed.*Nothing was changed"


class TestTables(ServerTablesContract):
    key = "book to author (book_author_id_fkey)"
    broken_key = '"{child}" violates foreign key constraint'
    lock_message = "as it was.*lock timeout.*stop the site"
    differs = VerificationFailed  # the server compares
    numbered = "bigserial PRIMARY KEY"
    wider = (
        ("varchar(3)", "'abc'", "varchar(200)"), ("varchar(3)", "'abc'", "text"), ("int", "-7", "bigint"),
        ("decimal(5, 1)", "1.5", "decimal(9, 3)"), ("timestamp(0)", "'2025-01-15 02:00:00'", "timestamp"),
        ("decimal(5, 1)", "1.5", "decimal"),
    )  # fmt: skip
    narrower = (
        ("varchar(20)", "'too long'", "varchar(3)", MIGHT_CHANGE),
        ("int", "-1", "int CHECK (x > 0)", "as it was.*violates check constraint"),
        ("text", "'x'", "int", MIGHT_CHANGE),
        ("decimal(9, 4)", "1.2345", "decimal(9, 2)", MIGHT_CHANGE),
        ("double precision", "0.123456789012", "real", MIGHT_CHANGE),
        (
            "timestamp",
            "'2025-01-15 02:00:00.123'",
            "timestamp(0)",
            MIGHT_CHANGE,
        ),
        ("text", "'x'", "char(3)", MIGHT_CHANGE),
    )
    another_restore = "as it was.*lock timeout"

    @pytest.fixture
    def server(self, postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
        return postgresql_server

    def held(self, server: PostgreSQLServer) -> AbstractContextManager[None]:  # type: ignore[override]
        return server.locked("book", "ROW EXCLUSIVE")


def test_keys_triggers_and_comments_come_back_as_they_were(server: PostgreSQLServer) -> None:
    """Cycles, constraints that are deferred or not validated, triggers in every state; none of them fires."""
    server.run(
        "CREATE TABLE hen (id int PRIMARY KEY, egg int NOT NULL)",
        "CREATE TABLE egg (id int PRIMARY KEY, hen int REFERENCES hen DEFERRABLE INITIALLY DEFERRED)",
        "ALTER TABLE hen ADD CONSTRAINT \"an Egg\" FOREIGN KEY (egg) REFERENCES egg ON DELETE CASCADE NOT VALID",
        "COMMENT ON CONSTRAINT \"an Egg\" ON hen IS 'it''s first'",
        "ALTER TABLE egg ADD FOREIGN KEY (id) REFERENCES egg",
        "INSERT INTO egg VALUES (1, NULL)", "INSERT INTO hen VALUES (1, 1)", "UPDATE egg SET hen = 1",
        "SET CONSTRAINTS ALL IMMEDIATE",
        "CREATE TABLE fired (what text)",
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO fired VALUES (tg_name); RETURN NULL; END $$",
        *(f"CREATE TRIGGER \"on {state}\" AFTER INSERT OR DELETE OR TRUNCATE ON egg EXECUTE FUNCTION note()"
          for state in ("Origin", "Replica", "Always", "Disabled")),
        'ALTER TABLE egg ENABLE REPLICA TRIGGER "on Replica"', 'ALTER TABLE egg ENABLE ALWAYS TRIGGER "on Always"',
        'ALTER TABLE egg DISABLE TRIGGER "on Disabled"', "TRUNCATE fired",
    )  # fmt: skip
    before = server.text()
    create_backup()
    server.run("INSERT INTO egg VALUES (2, NULL)", "TRUNCATE fired")
    restore("egg")
    fail_unless_equal(before, server.text())


def test_partitions_and_sequences(server: PostgreSQLServer) -> None:
    """A partitioned table means its parts; identity goes on where the backup left it."""
    server.run(
        "CREATE SCHEMA logs",
        "CREATE TABLE logs.event (id int GENERATED ALWAYS AS IDENTITY, at int, author_id int REFERENCES author) "
        "PARTITION BY RANGE (at)",
        "CREATE TABLE logs.event_low PARTITION OF logs.event FOR VALUES FROM (0) TO (100)",
        'CREATE TABLE logs."event High" PARTITION OF logs.event DEFAULT',
        "INSERT INTO logs.event (at, author_id) SELECT i * 10, 1 + i FROM generate_series(1, 20) i",
        "CREATE TABLE numbered (id bigserial PRIMARY KEY, w text, twice int GENERATED ALWAYS AS (length(w)) STORED)",
        "INSERT INTO numbered (w) VALUES ('a'), ('bb')",
    )
    before = server.text()
    create_backup()
    server.run("DELETE FROM logs.event WHERE at > 50", "INSERT INTO logs.event (at) VALUES (1)", "DELETE FROM numbered",
               "INSERT INTO numbered (w) VALUES ('ccc')")  # fmt: skip
    restore("event", "numbered")
    assert server.run("SELECT id FROM numbered ORDER BY 1") == [(1,), (2,)]
    assert server.run("INSERT INTO numbered (w) VALUES ('x') RETURNING id") == [(3,)]
    server.run("DELETE FROM numbered WHERE id = 3", "SELECT setval('numbered_id_seq', 2)")
    sequence = server.run("SELECT nextval('logs.event_id_seq')")
    assert sequence in ([(21,)], [(22,)])  # that of the root stays as it is: it is no part's own
    server.run("SELECT setval('logs.event_id_seq', 20)")
    fail_unless_equal(before, server.text())


ODD = '"ö\'\\"""'


def test_odd_names(server: PostgreSQLServer) -> None:
    server.run(f'CREATE TABLE "a b" (i int); CREATE TABLE "a" (i int); CREATE TABLE {ODD} (i int)')
    server.run(f'INSERT INTO "a b" VALUES (1); INSERT INTO "a" VALUES (2); INSERT INTO {ODD} VALUES (3)')
    create_backup()
    server.run(f'DELETE FROM "a b"; DELETE FROM "a"; DELETE FROM {ODD}')
    restore("a b", "ö*")
    assert server.run('SELECT (SELECT count(*) FROM "a b"), (SELECT count(*) FROM "a")') == [(1, 0)]
    assert server.run(f"SELECT i FROM {ODD}") == [(3,)]


def test_the_owner_of_the_tables_restores_them(server: PostgreSQLServer) -> None:
    role = server.role("keeper")
    server.run(*(f"ALTER TABLE {table} OWNER TO {role}" for table in ("author", "book")))
    create_backup()
    server.run("DELETE FROM book")
    server.use(USER=role, PASSWORD="pw")
    restore("book")
    assert server.count("book") == BOOKS


DOTTED = (
    'CREATE SCHEMA "acme.example.com"',
    'CREATE TABLE "acme.example.com"."or.ders" (id bigserial PRIMARY KEY, t text)',
    """INSERT INTO "acme.example.com"."or.ders" (t) VALUES ('a'), ('b')""",
    'CREATE SCHEMA "acme"',
    'CREATE TABLE "acme"."example.com.orders" (id int)',
)


@pytest.mark.parametrize("pattern", ["or.ders", "acme.example.com.or.ders"])
def test_names_with_dots(server: PostgreSQLServer, pattern: str) -> None:
    server.run(*DOTTED)
    create_backup()
    server.run('DELETE FROM "acme.example.com"."or.ders"', 'INSERT INTO "acme"."example.com.orders" VALUES (1)')
    restore(pattern)
    assert server.count('"acme.example.com"."or.ders"') == 2
    assert server.count('"acme"."example.com.orders"') == 1


def test_a_backup_of_some_tables_with_dots_in_their_names(server: PostgreSQLServer) -> None:
    server.run(*DOTTED)
    tables = {"include_tables": ["or.ders", "example.com.orders"], "exclude_tables": ["example.com.or*"]}
    server.site.configure(databases=[{"alias": "default", **tables}])
    create_backup()
    restore_backup(to="empty")
    assert server.table_names("empty") == ["acme.example.com.orders", "acme.example.com.or.ders"]
    assert server.count('"acme.example.com"."or.ders"', "empty") == 2


SCRIPT = """
CREATE TABLE public."or.der" (
    id integer CONSTRAINT order_id_not_null NOT NULL,
    "a b" character varying(10) COLLATE pg_catalog."C" DEFAULT 'x, y'::text,
    twice integer GENERATED ALWAYS AS ((id * 2)) STORED,
    at timestamp(0) with time zone,
    CONSTRAINT positive CHECK ((id > 0))
);
"""


def test_types_are_read_from_the_script_of_an_archive() -> None:
    """A computed column has no value in it."""
    types = find_types(SCRIPT)
    assert types.pop(("public", "or.der", "CONSTRAINT"), "") == "positive CHECK ((id > 0))"  # no column is named so
    assert {column[2]: text for column, text in types.items()} == {
        "id": "integer", "a b": "character varying(10)", "at": "timestamp(0) with time zone",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("numeric(9,4)", "numeric(9,2)"), ("numeric", "numeric(9,2)"), ("integer", "numeric(5,0)"), ("real", "text"),
        ("double precision", "real"), ("timestamp without time zone", "timestamp(3) without time zone"),
        ("timestamp with time zone", "timestamp without time zone"), ("text", "character(4)"),
        ("text", "character varying(9)"), ("character varying(9)", "character varying(8)"), ("json", "jsonb"),
        ("character(3)", "text"), ("integer[]", "text[]"), ("public.mood", "text"), ("bit(3)", "bit varying(3)"),
    ],
)  # fmt: skip
def test_types_between_which_the_server_may_change_a_value_in_silence(old: str, new: str) -> None:
    column = ("public", "t", "x")
    assert find_changed({column: old}, {column: new}) == [f"t.x ({old}, here {new})"]
