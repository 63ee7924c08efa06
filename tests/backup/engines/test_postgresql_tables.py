"""Some tables of a backup into a PostgreSQL database as it is."""

from __future__ import annotations

from typing import Any

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.base import RestoreOptions
from django_cfg.backup.errors import RestoreFailed, RestoreRefused, UsageError, VerificationFailed
from django_cfg.backup.services.restore.restore import plan_restore
from tests.support.databases import AUTHORS, BOOKS, fail_unless_equal
from tests.support.postgresql_databases import PostgreSQLServer


@pytest.fixture
def server(postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
    return postgresql_server


def restore(*tables: str, **options: Any) -> None:
    restore_backup(tables=tables, discard_old=True, **options)


def told(*tables: str) -> str:
    outlook = plan_restore(options=RestoreOptions(tables=tables, discard_old=True)).preflight
    return "\n".join(finding.text for finding in outlook.findings)


def test_the_tables_are_as_in_the_backup_and_the_others_as_they_were(server: PostgreSQLServer) -> None:
    before = server.text()
    create_backup()
    server.run("DELETE FROM book", "INSERT INTO author VALUES (999, 'since')", "CREATE TABLE later (i int)")
    restore("book")
    assert server.count("book") == BOOKS
    assert server.count("author") == AUTHORS + 1
    server.run("DELETE FROM author WHERE id = 999", "DROP TABLE later")
    fail_unless_equal(before, server.text())


def test_foreign_keys_in_the_way_are_named_first(server: PostgreSQLServer) -> None:
    create_backup()
    assert "only public.author, replaced" in told("author")
    assert "book to author (book_author_id_fkey)" in told("author")
    assert "foreign keys" not in told("author", "book")


def test_a_row_that_would_miss_its_partner_undoes_everything(server: PostgreSQLServer) -> None:
    create_backup()
    server.run("INSERT INTO author VALUES (999, 'since')", "INSERT INTO book VALUES (999, 'since', 999)")
    before = server.text()
    with pytest.raises(RestoreFailed, match=r"(?s)as it was.*book_author_id_fkey"):
        restore("author")
    fail_unless_equal(before, server.text())
    restore("author", "book")
    assert (server.count("author"), server.count("book")) == (AUTHORS, BOOKS)


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
        "CREATE TABLE told (what text)",
        "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO told VALUES (tg_name); RETURN NULL; END $$",
        *(f"CREATE TRIGGER \"on {state}\" AFTER INSERT OR DELETE OR TRUNCATE ON egg EXECUTE FUNCTION tell()"
          for state in ("Origin", "Replica", "Always", "Disabled")),
        'ALTER TABLE egg ENABLE REPLICA TRIGGER "on Replica"', 'ALTER TABLE egg ENABLE ALWAYS TRIGGER "on Always"',
        'ALTER TABLE egg DISABLE TRIGGER "on Disabled"', "TRUNCATE told",
    )  # fmt: skip
    before = server.text()
    create_backup()
    server.run("INSERT INTO egg VALUES (2, NULL)", "TRUNCATE told")
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


def test_what_cannot_be_done_is_refused_before(server: PostgreSQLServer) -> None:
    server.site.configure(databases=[{"alias": "default", "exclude_tables": ["book"]}])
    create_backup()
    with pytest.raises(UsageError, match=r"--tables of the database 'default' names 'bok'"):
        restore("bok")
    with pytest.raises(RestoreRefused, match=r"public\.book cannot be restored separately.*left out their rows"):
        restore("book")
    server.run("DROP TABLE book", "DROP TABLE author")
    with pytest.raises(
        RestoreRefused, match=r"public\.author cannot be restored separately.*no ordinary table of that name.*--to"
    ):
        restore("author")


def test_a_column_that_is_gone_undoes_everything(server: PostgreSQLServer) -> None:
    create_backup()
    server.run("ALTER TABLE book DROP COLUMN title")
    before = server.text()
    with pytest.raises(RestoreFailed, match=r'(?s)as it was.*column "title".*does not exist'):
        restore("book")
    fail_unless_equal(before, server.text())


def test_a_wrong_count_undoes_everything(server: PostgreSQLServer) -> None:
    manifest = create_backup()
    path = server.site.backups / manifest.key
    path.write_text(path.read_text().replace(f'"rows": {BOOKS}', f'"rows": {BOOKS + 1}'))
    server.run("DELETE FROM book")
    with pytest.raises(VerificationFailed, match="book has 200 rows instead of 201"):
        restore("book")
    assert server.count("book") == 0


def test_a_partial_backup_gives_its_tables_to_a_whole_database(server: PostgreSQLServer) -> None:
    server.site.configure(databases=[{"alias": "default", "include_tables": ["author"]}])
    create_backup()
    server.run("UPDATE author SET name = 'nobody'")
    restore("author")
    assert server.run("SELECT name FROM author WHERE id = 7") == [("Author 7",)]
    assert server.count("book") == BOOKS


def test_another_database_takes_them_too(server: PostgreSQLServer) -> None:
    create_backup()
    server.run("CREATE TABLE author (id integer PRIMARY KEY, name varchar(100), more int DEFAULT 5)", alias="empty")
    restore("author", to="empty")
    assert server.run("SELECT count(*), min(more) FROM author", alias="empty") == [(AUTHORS, 5)]


def test_the_owner_of_the_tables_restores_them(server: PostgreSQLServer) -> None:
    role = server.role("keeper")
    server.run(*(f"ALTER TABLE {table} OWNER TO {role}" for table in ("author", "book")))
    create_backup()
    server.run("DELETE FROM book")
    server.use(USER=role, PASSWORD="pw")
    restore("book")
    assert server.count("book") == BOOKS


def test_the_old_rows_are_backed_up_first(server: PostgreSQLServer) -> None:
    create_backup()
    server.run("DELETE FROM book WHERE id > 10")
    restore_backup(tables=["book"])
    assert server.count("book") == BOOKS
    before = [manifest for manifest in server.site.stored() if manifest.endswith(".json")]
    assert len(before) == 2


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
