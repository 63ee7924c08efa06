"""Everything a MariaDB database can hold comes back exactly, and nothing that was added later stays."""

from __future__ import annotations

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.mysql.staging_schemas import MARKER
from tests.support.databases import AUTHORS, BOOKS, fail_unless_equal
from tests.support.mysql_databases import MySQLServer
from tests.support.mysql_objects import KINDS


@pytest.fixture
def server(mysql_server: MySQLServer) -> MySQLServer:
    return mysql_server


def make(server: MySQLServer) -> None:
    for first, _ in KINDS.values():
        server.script(first.replace("{db}", server.databases["default"]))


def change(server: MySQLServer) -> None:
    for _, later in KINDS.values():
        server.script(later)
    server.run("DELETE FROM book WHERE id > 9", "UPDATE author SET name = CONCAT('changed ', id) WHERE id < 40")


def test_everything_comes_back_and_nothing_later_stays(server: MySQLServer) -> None:
    """Whatever kind of object: mariadb-dump writes the same text of the database before and after."""
    make(server)
    before = server.text()
    create_backup()
    change(server)
    assert server.text() != before
    switched = restore_backup()
    fail_unless_equal(before, server.text())
    assert server.schemas() == {switched.old_data}, "the scratch is gone"


def test_everything_fits_into_an_empty_database(server: MySQLServer) -> None:
    """The same backup makes the same database where nothing was, and nothing is set aside."""
    make(server)
    create_backup()
    assert restore_backup(to="empty").old_data is None
    fail_unless_equal(server.text(), server.text("empty"))
    assert server.schemas() == set()


def test_the_restored_database_works(server: MySQLServer) -> None:
    """Numbers go on, foreign keys refer to their own tables, triggers fire, routines and views answer."""
    make(server)
    create_backup()
    change(server)
    restore_backup()
    assert server.run("INSERT INTO hen (egg) VALUES (NULL)", "SELECT MAX(id) FROM hen") == [(502,)]
    assert server.run("INSERT INTO drawn (t) VALUES ('z')", "SELECT id > 10 FROM drawn WHERE t = 'z'") == [(1,)]
    server.run("UPDATE hen SET egg = NULL", "DELETE FROM hen WHERE id = 500")
    assert server.count("egg") == 0
    server.run("INSERT INTO book VALUES (1000, 'new', 1)", "UPDATE author SET name = 'x' WHERE id = 2")
    assert server.run("SELECT title FROM book WHERE id = 1000") == [("new!",)]
    assert server.count("audited") == 2
    assert server.run("SELECT twice(4), SUM(id) FROM doubled") == [(8, AUTHORS * (AUTHORS + 1))]
    with pytest.raises(Exception, match="foreign key constraint fails"):
        server.run("INSERT INTO book VALUES (1001, 'x', 4711)")


def test_a_view_draws_from_the_sequence_next_to_it(server: MySQLServer) -> None:
    """The server writes the database's name into its text: a copy would move the original's sequence on."""
    server.run(
        "CREATE SEQUENCE numbers", "CREATE TABLE drawn (id int DEFAULT nextval(numbers), t text COMMENT 'a''s \\\\')",
        f"CREATE VIEW next_number AS SELECT nextval(numbers) AS n, '\\'nextval(`{server.databases['default']}`.x' AS t",
    )  # fmt: skip
    create_backup()
    restore_backup(to="empty")
    copy = server.run("SELECT n, t FROM next_number", alias="empty")
    assert copy == [(1, f"'nextval(`{server.databases['default']}`.x")]
    assert server.run("SELECT next_not_cached_value FROM numbers", alias="empty") != [(1,)]
    assert server.run("SELECT next_not_cached_value FROM numbers") == [(1,)], "the original's has not moved"
    server.run("DROP VIEW next_number", "DROP TABLE drawn", "DROP SEQUENCE numbers")
    restore_backup()
    assert server.run("SELECT n FROM next_number") == [(1,)]
    server.run("DROP VIEW next_number", "DROP TABLE drawn", "DROP SEQUENCE numbers")
    restore_backup(to="empty")
    assert server.run("SELECT n FROM next_number", alias="empty") == [(1,)], "without the original"


def test_what_was_set_aside_is_complete(server: MySQLServer) -> None:
    """Every old table with its rows, and the text of what else there was."""
    server.run(
        "CREATE VIEW old_view AS SELECT 1 AS one", "CREATE TRIGGER old BEFORE INSERT ON book FOR EACH ROW SET @x = 1"
    )
    create_backup()
    server.run("DELETE FROM book WHERE id > 9", "CREATE TABLE later (i int)", "INSERT INTO later VALUES (7)")
    restore_backup()
    (aside,) = server.schemas()
    assert server.server.sql(f"SELECT COUNT(*) FROM `{aside}`.book") == [(9,)]
    assert server.server.sql(f"SELECT i FROM `{aside}`.later") == [(7,)]
    kept = server.server.sql(f"SELECT kind, name FROM `{aside}`.django_cfg_backup_plan WHERE generation = 'old'")
    assert set(kept) == {("view", "old_view"), ("trigger", "old")}


def test_a_second_restore_sets_aside_again(server: MySQLServer) -> None:
    create_backup()
    restore_backup()
    server.run("DELETE FROM book")
    restore_backup()
    assert len(server.schemas()) == 2
    assert server.count("book") == BOOKS
    assert {MARKER} & set(server.table_names()) == set()


def test_the_manifest_counts_no_views_and_no_sequences(server: MySQLServer) -> None:
    make(server)
    manifest = create_backup()
    assert [table.name for table in manifest.tables] == server.table_names()
    rows = {table.name: table.rows for table in manifest.tables}
    assert (rows["kept"], rows["parts"], rows["words"]) == (3, 3, 4), "rows of the past are counted too"
    assert all(table.exact for table in manifest.tables)


def test_grants_character_set_and_collation_survive(server: MySQLServer) -> None:
    """On the schema, on its tables, columns and routines: they belong to names, which stay."""
    name = server.databases["default"]
    server.run("CREATE PROCEDURE work() SELECT 1", "CREATE VIEW titles AS SELECT title FROM book")
    user = server.user("clerk@'%'", "SELECT, INSERT ON {db}.*", "UPDATE (title), DELETE ON {db}.book",
                       "SELECT ON {db}.titles", "EXECUTE ON PROCEDURE {db}.work")  # fmt: skip
    server.server.sql(f"ALTER DATABASE {name} CHARACTER SET latin1 COLLATE latin1_german2_ci")
    grants, charset = f"SHOW GRANTS FOR {user}", f"SHOW CREATE DATABASE {name}"
    before = server.server.sql(grants), server.server.sql(charset)
    create_backup()
    restore_backup()
    assert (server.server.sql(grants), server.server.sql(charset)) == before


def test_code_made_under_another_collation_of_the_database(server: MySQLServer) -> None:
    """The dump alters the database around it, by the name it had: the restored one, and no other, keeps its own."""
    name = server.databases["default"]
    server.run("CREATE PROCEDURE old_times(a varchar(10)) SELECT a")
    server.server.sql(f"ALTER DATABASE {name} CHARACTER SET latin1 COLLATE latin1_german2_ci")
    create_backup()
    for alias in ("default", "empty"):
        charset = f"SHOW CREATE DATABASE {server.databases[alias]}"
        before = server.server.sql(charset)
        restore_backup(to=alias)
        assert server.server.sql(charset) == before
        created = server.run("SHOW CREATE PROCEDURE old_times", alias=alias)[0]
        assert created[-1] == "utf8mb4_unicode_ci"
