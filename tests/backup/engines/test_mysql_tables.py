"""Some tables of a backup into a MySQL or MariaDB database as it is: what comes back, and what refers to it."""

from __future__ import annotations

import pytest

from django_cfg.backup import create_backup, list_backups, restore_backup
from django_cfg.backup.engines.base import RestoreOptions
from django_cfg.backup.errors import RestoreFailed
from django_cfg.backup.services.restore.restore import plan_restore
from tests.support.databases import AUTHORS, BOOKS, fail_unless_equal
from tests.support.mysql_databases import MySQLServer
from tests.support.mysql_objects import KINDS
from tests.support.mysql_table_restore import fail_to_restore, restore


@pytest.fixture
def server(mysql_server: MySQLServer) -> MySQLServer:
    return mysql_server


def told(*tables: str) -> str:
    outlook = plan_restore(options=RestoreOptions(tables=tables, discard_old=True)).preflight
    return "\n".join(finding.text for finding in outlook.findings)


def test_the_tables_are_as_in_the_backup_and_the_others_as_they_were(server: MySQLServer) -> None:
    before = server.text()
    create_backup()
    server.run("DELETE FROM book", "INSERT INTO author VALUES (999, 'since')", "CREATE TABLE later (i int)")
    switched = restore("book")
    assert (switched.old_data, switched.advice) == (None, "")
    assert server.count("book") == BOOKS
    assert server.count("author") == AUTHORS + 1
    assert server.schemas() == set()
    server.run("DELETE FROM author WHERE id = 999", "DROP TABLE later")
    fail_unless_equal(before, server.text())


def test_patterns_and_odd_names(server: MySQLServer) -> None:
    odd = f"`{server.odd}`"
    server.run(f"CREATE TABLE {odd} (`Sél;ect %s` int, `b``c` int)", f"INSERT INTO {odd} VALUES (1, 2)",
               "CREATE TABLE `a b` (i int)", "INSERT INTO `a b` VALUES (1)")  # fmt: skip
    create_backup()
    server.run(f"DELETE FROM {odd}", "DELETE FROM `a b`", "DELETE FROM book")
    restore("Ödd*", "a ?")
    assert server.run(f"SELECT * FROM {odd}") == [(1, 2)]
    assert (server.count("`a b`"), server.count("book")) == (1, 0)


def test_values_arrive_unchanged(server: MySQLServer) -> None:
    """Zero ids, zero dates, dates that no calendar has, what a lenient mode let in, and the greatest values."""
    server.script(KINDS["types"][0])
    server.run(
        "SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO', time_zone = '+00:00'",
        "CREATE TABLE odd (id int AUTO_INCREMENT PRIMARY KEY, d date NOT NULL, e enum('a', 'b') NOT NULL, at timestamp "
        "NOT NULL DEFAULT current_timestamp ON UPDATE current_timestamp, f float, t time(6), hidden int INVISIBLE)",
        "INSERT INTO odd (id, d, e, at, f, t, hidden) VALUES "
        "(0, '0000-00-00', 'none', 0, -0.0, '-838:59:59.999999', 7), "
        "(-2147483648, '2024-00-10', 'b', '2024-10-27 00:30:00', 3.4028234e38, '838:59:59', NULL), "
        "(2147483647, '9999-12-31', 'a', '2038-01-19 03:14:07', 1e-40, 0, 0)",
    )
    before = server.text()
    create_backup()
    server.run("DELETE FROM types", "DELETE FROM odd")
    server.use(OPTIONS={"init_command": "SET sql_safe_updates = 1, time_zone = '+05:00', sql_mode = 'TRADITIONAL'"})
    restore("types", "odd")
    fail_unless_equal(before, server.text())


def test_generated_columns_make_themselves(server: MySQLServer) -> None:
    """One that is generated in the backup and not any more keeps what it showed."""
    server.script(KINDS["generated columns"][0])
    before = server.text()
    create_backup()
    server.run("DELETE FROM computed")
    restore("computed")
    fail_unless_equal(before, server.text())
    server.run("ALTER TABLE computed MODIFY p varchar(20)", "DELETE FROM computed")
    restore("computed")
    assert server.run("SELECT a, v, p, i FROM computed ORDER BY a") == [(1, 2, "x;1", 5), (2, 4, "x;2", 6)]


def test_numbers_go_on_where_the_backup_or_the_database_is(server: MySQLServer) -> None:
    """Wherever that is later."""
    server.run("CREATE TABLE numbered (id int AUTO_INCREMENT PRIMARY KEY, w text) AUTO_INCREMENT = 500",
               "INSERT INTO numbered VALUES (7, 'a')")  # fmt: skip
    create_backup()
    server.run("CREATE TABLE numbered (id int AUTO_INCREMENT PRIMARY KEY, w text)", alias="empty")
    assert restore("numbered", to="empty").advice == ""
    server.run("INSERT INTO numbered (w) VALUES ('b')", alias="empty")
    assert server.run("SELECT MAX(id) FROM numbered", alias="empty") == [(500,)]
    server.run("ALTER TABLE numbered AUTO_INCREMENT = 900")
    restore("numbered")
    server.run("INSERT INTO numbered (w) VALUES ('b')")
    assert server.run("SELECT MAX(id) FROM numbered") == [(900,)]


def test_a_new_column_has_its_default(server: MySQLServer) -> None:
    create_backup()
    server.run("ALTER TABLE author ADD COLUMN more int DEFAULT 5, MODIFY name text")
    restore("author")
    assert server.run("SELECT COUNT(*), MIN(more) FROM author") == [(AUTHORS, 5)]
    server.run("ALTER TABLE author MODIFY more int NOT NULL")
    fail_to_restore(server, RestoreFailed, "Field 'more' doesn't have a default.*as it was.*SET DEFAULT", "author")


def test_a_partial_backup_gives_its_tables_to_a_whole_database(server: MySQLServer) -> None:
    server.site.configure(databases=[{"alias": "default", "include_tables": ["author"]}])
    create_backup()
    server.run("UPDATE author SET name = 'nobody'")
    restore("author")
    assert server.run("SELECT name FROM author WHERE id = 7") == [("Author 7",)]
    assert server.count("book") == BOOKS


def test_another_database_takes_them_too(server: MySQLServer) -> None:
    create_backup()
    server.run("CREATE TABLE author (id integer PRIMARY KEY, name varchar(100), more int DEFAULT 5)", alias="empty")
    restore("author", to="empty")
    assert server.run("SELECT COUNT(*), MIN(more) FROM author", alias="empty") == [(AUTHORS, 5)]


def test_the_old_rows_are_backed_up_first(server: MySQLServer) -> None:
    create_backup()
    server.run("DELETE FROM book WHERE id > 10")
    assert restore_backup(tables=["book"]).old_data is None
    assert server.count("book") == BOOKS
    (before,) = [manifest for manifest in list_backups() if manifest.trigger == "before-restore"]
    restore_backup(before.name, tables=["book"], discard_old=True)
    assert server.count("book") == 10


def test_the_command_tells_what_it_does(server: MySQLServer) -> None:
    name = create_backup().name
    server.run("DELETE FROM book")
    answer = server.site.call("backup_restore", name, "--yes", "--tables", "bo*", "--discard-old")
    assert answer.code == 0, answer.stderr
    assert "only book, replaced in one transaction" in answer.stderr
    assert f"bo* of default are now as in {name}." in answer.stdout
    assert server.count("book") == BOOKS


# --- foreign keys


def test_foreign_keys_in_the_way_are_named_first(server: MySQLServer) -> None:
    create_backup()
    assert "only author, replaced" in told("author")
    assert "book to author (book_ibfk_1)" in told("author")
    assert "foreign keys" not in told("author", "book")


def test_a_row_that_would_miss_its_partner_undoes_everything(server: MySQLServer) -> None:
    """One that missed it before does not."""
    server.run("SET foreign_key_checks = 0", "INSERT INTO book VALUES (998, 'always astray', 998)")
    create_backup()
    server.run("INSERT INTO author VALUES (999, 'since')", "INSERT INTO book VALUES (999, 'since', 999)")
    fail_to_restore(server, RestoreFailed, "1 rows would refer.*book to author.*as it was.*--tables", "author")
    restore("author", "book")
    assert (server.count("author"), server.count("book")) == (AUTHORS, BOOKS + 1)


def test_a_partner_outside_is_needed_too(server: MySQLServer) -> None:
    create_backup()
    server.run("DELETE FROM book", "DELETE FROM author WHERE id = 50")
    fail_to_restore(server, RestoreFailed, "4 rows would refer.*book to author.*as it was", "book")


def test_keys_do_not_cascade(server: MySQLServer) -> None:
    """Neither in cycles nor to the tables of others; a table that refers to itself needs nothing else."""
    server.script(KINDS["keys"][0])
    server.run("CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree (id) ON DELETE CASCADE)",
               "INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2)", "UPDATE tree SET up = 2 WHERE id = 1")  # fmt: skip
    before = server.text()
    create_backup()
    server.run("INSERT INTO tree VALUES (4, 3)")
    for tables in (["hen"], ["egg"], ["hen", "egg", "tree"]):
        restore(*tables)
    fail_unless_equal(before, server.text())


def test_keys_of_several_columns(server: MySQLServer) -> None:
    """A NULL in any of them, and nothing is looked for."""
    server.run("CREATE TABLE shelf (a int, b varchar(9), PRIMARY KEY (b, a))",
               "INSERT INTO shelf VALUES (1, 'x'), (2, 'x')",
               "CREATE TABLE placed (id int PRIMARY KEY, a int, b varchar(9), CONSTRAINT `on shelf` "
               "FOREIGN KEY (b, a) REFERENCES shelf (b, a))",
               "INSERT INTO placed VALUES (1, 1, 'X'), (2, 7, NULL), (3, NULL, 'y')")  # fmt: skip
    create_backup()
    restore("shelf")
    server.run("INSERT INTO shelf VALUES (2, 'y')", "INSERT INTO placed VALUES (4, 2, 'y')")
    assert "placed to shelf (on shelf)" in told("shelf")
    fail_to_restore(server, RestoreFailed, "1 rows would refer.*placed to shelf", "shelf")
    restore("shelf", "placed")
    assert server.count("placed") == 3


def test_keys_of_another_schema(server: MySQLServer) -> None:
    """They stay, since the table stays; what they need has to come back."""
    database, other = server.databases["default"], server.databases["empty"]
    create_backup()
    server.run("INSERT INTO author VALUES (999, 'since')")
    far = f"CREATE TABLE far (i int, CONSTRAINT far_key FOREIGN KEY (i) REFERENCES {database}.author (id))"
    server.run(far, "INSERT INTO far VALUES (7)", alias="empty")
    try:
        assert f"{other}.far to author (far_key)" in told("author", "book")
        restore("author", "book")
        server.run("INSERT INTO author VALUES (999, 'since')")
        server.run("INSERT INTO far VALUES (999)", alias="empty")
        fail_to_restore(server, RestoreFailed, f"1 rows would refer.*{other}.far to author", "author", "book")
    finally:
        server.run("DROP TABLE far", alias="empty")
