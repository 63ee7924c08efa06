"""Some tables of a backup into a MySQL or MariaDB database as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from django_cfg.backup import create_backup, list_backups
from django_cfg.backup.engines.mysql.table_restore import Column
from django_cfg.backup.errors import RestoreFailed, RestoreRefused, TablesDiffer
from tests.backup.engines.tables_contract import ServerTablesContract, fail_to_restore, preview, restore
from tests.support.databases import AUTHORS, BOOKS, fail_unless_equal
from tests.support.mysql_databases import MySQLServer
from tests.support.mysql_objects import KINDS
from tests.support.restore_receiver import received


@pytest.fixture
def server(mysql_server: MySQLServer) -> MySQLServer:
    return mysql_server


class TestTables(ServerTablesContract):
    key = "book to author (book_ibfk_1)"
    broken_key = "{count} rows would refer.*{child} to {parent}.*--tables"
    lock_message = "Lock wait timeout.*as it was.*stop the site"
    orphan = ("SET foreign_key_checks = 0", "INSERT INTO book VALUES (998, 'always without', 998)")
    equal_to_x = "X"
    numbered = "int AUTO_INCREMENT PRIMARY KEY"
    next_number = 5
    wider = (
        ("varchar(3)", "'abc'", "varchar(200)"), ("char(3)", "'abc'", "text"), ("int", "-7", "bigint"),
        ("enum('a', 'b')", "'b'", "enum('c', 'b', 'a')"), ("datetime", "'2025-01-15 02:00:00'", "datetime(6)"),
        ("varchar(9) CHARACTER SET latin1", "'Ä'", "varchar(9)"), ("decimal(5, 1)", "1.5", "decimal(9, 3)"),
        ("varbinary(3)", "0xff00", "blob"), ("date", "'2025-01-15'", "datetime"),
    )  # fmt: skip
    narrower = (
        ("varchar(20)", "'too long'", "varchar(3)", "Data too long.*as it was"),
        ("decimal(9, 4)", "1.2345", "decimal(9, 2)", "changed do not fit.*Data truncated.*as it was"),
        ("double", "0.1", "float", r"x \(double, here float\), whose values might not stay the same"),
        ("int", "-1", "int CHECK (x > 0)", "CONSTRAINT.*as it was"),
    )
    another_restore = "Another restore of the database 'default' is running"

    @pytest.fixture
    def server(self, mysql_server: MySQLServer) -> MySQLServer:
        return mysql_server

    @contextmanager
    def held(self, server: MySQLServer) -> Iterator[None]:  # type: ignore[override]
        with closing(server.connect()) as other:
            other.begin()
            other.query("SELECT * FROM book WHERE id = 3 FOR UPDATE")
            yield


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


# --- foreign keys


def test_keys_in_cycles(server: MySQLServer) -> None:
    server.script(KINDS["keys"][0])
    server.run("CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree (id) ON DELETE CASCADE)",
               "INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2)", "UPDATE tree SET up = 2 WHERE id = 1")  # fmt: skip
    before = server.text()
    create_backup()
    server.run("INSERT INTO tree VALUES (4, 3)")
    for tables in (["hen"], ["egg"], ["hen", "egg", "tree"]):
        restore(*tables)
    fail_unless_equal(before, server.text())


def test_keys_of_another_schema(server: MySQLServer) -> None:
    """They stay, since the table stays; what they need has to come back."""
    database, other = server.databases["default"], server.databases["empty"]
    create_backup()
    server.run("INSERT INTO author VALUES (999, 'since')")
    far = f"CREATE TABLE far (i int, CONSTRAINT far_key FOREIGN KEY (i) REFERENCES {database}.author (id))"
    server.run(far, "INSERT INTO far VALUES (7)", alias="empty")
    try:
        assert f"{other}.far to author (far_key)" in preview("author", "book")
        restore("author", "book")
        server.run("INSERT INTO author VALUES (999, 'since')")
        server.run("INSERT INTO far VALUES (999)", alias="empty")
        fail_to_restore(server, RestoreFailed, f"1 rows would refer.*{other}.far to author", "author", "book")
    finally:
        server.run("DROP TABLE far", alias="empty")


@contextmanager
def loaded(act: Callable[[], object]) -> Iterator[None]:
    """A block in whose restores *act* is carried out when all is loaded and checked, right before the switch."""
    with received(lambda **facts: act()):  # type: ignore[misc]
        yield


# --- what is refused, before anything is done


@pytest.mark.parametrize("kind", ["INSERT", "DELETE"])
def test_triggers_that_would_fire(server: MySQLServer, kind: str) -> None:
    """They are named, and what to do; those of UPDATE and of other tables are in no restore's way."""
    server.run("CREATE TABLE log (what text)",
               f"CREATE TRIGGER `note it` AFTER {kind} ON book FOR EACH ROW INSERT INTO log VALUES ('{kind}')",
               "CREATE TRIGGER quiet BEFORE UPDATE ON author FOR EACH ROW INSERT INTO log VALUES ('x')")  # fmt: skip
    create_backup()
    fail_to_restore(server, RestoreRefused, "would fire.*note it of book: drop them.*--to", "book", "author")
    restore("author")
    assert server.count("log") == 0


@pytest.mark.parametrize("engine", ["MyISAM", "Aria", "MEMORY"])
def test_tables_that_know_no_transaction(server: MySQLServer, engine: str) -> None:
    server.run(f"CREATE TABLE plain (i int) ENGINE={engine}", "INSERT INTO plain VALUES (1)")
    create_backup()
    fail_to_restore(server, RestoreRefused, rf"only tables of InnoDB .* not plain \({engine}\)", "plain", "book")
    server.run("ALTER TABLE plain ENGINE=InnoDB", "DELETE FROM plain")
    restore("plain")
    assert server.count("plain") == 1


def test_tables_that_keep_their_history(server: MySQLServer) -> None:
    """Whether they do so in the database or, which is known once it is loaded, in the backup."""
    server.script(KINDS["history"][0])
    create_backup()
    fail_to_restore(server, RestoreRefused, "writes the history of kept", "kept")
    server.run("ALTER TABLE kept DROP SYSTEM VERSIONING")
    fail_to_restore(server, RestoreRefused, "the backup holds the history of kept", "kept")


def test_a_user_who_may_not_make_a_schema(server: MySQLServer) -> None:
    create_backup()
    user = server.user("owner@'%'", "ALL ON {db}.*", "SELECT ON mysql.proc")
    server.act_as(user)
    fail_to_restore(server, RestoreRefused, r"owner_\w+@% may not create a schema.*--to", "book")
    assert len(list_backups()) == 1


def test_a_user_who_may_not_delete(server: MySQLServer) -> None:
    create_backup()
    database = server.databases["default"]
    user = server.user("keeper@'%'", "ALL ON {db}.*", rf"ALL ON `{database}\_\_restore\_%`.*", "SELECT ON mysql.proc")
    server.server.sql(f"REVOKE DELETE ON {database}.* FROM {user}")
    server.act_as(user)
    fail_to_restore(server, RestoreRefused, "may not do all.*GRANT DELETE ON", "book")
    server.server.sql(f"GRANT DELETE ON {database}.* TO {user}")
    server.run("DELETE FROM book")
    restore("book")
    assert server.count("book") == BOOKS


# --- what undoes everything


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("datetime(6)", "datetime"), ("time(3)", "time"), ("timestamp(6)", "timestamp(3)"), ("varchar(9)", "char(9)"),
        ("text", "char(4)"), ("double", "float"), ("double", "int"), ("double(7,3)", "double(7,2)"),
        ("bigint", "double"), ("int", "varchar(20)"), ("binary(2)", "binary(3)"), ("varbinary(2)", "binary(2)"),
        ("text", "blob"), ("timestamp", "datetime"), ("year(4)", "int(4)"),
    ],
)  # fmt: skip
def test_types_between_which_a_server_may_change_a_value_in_silence(old: str, new: str) -> None:
    assert not column(new).preserves(column(old))


def column(text: str) -> Column:
    kind, _, length = text.partition("(")
    precision = int(length.rstrip(")") or 0) if "time" in kind else 0
    return Column("x", text, kind, precision, is_stored=True)


def test_a_scratch_that_changed_after_it_was_checked(server: MySQLServer) -> None:
    """The rows are counted once more where they have arrived."""
    create_backup()
    server.run("DELETE FROM book WHERE id > 10")

    def change() -> None:
        (scratch,) = server.schemas()
        server.server.sql(f"DELETE FROM {scratch}.book WHERE id = 7")

    with loaded(change):
        fail_to_restore(server, TablesDiffer, "book has 199 rows instead of 200", "book")


def test_what_came_while_it_was_loaded_is_found(server: MySQLServer) -> None:
    """A trigger, say; the rows are as they were, and the trigger stays."""
    create_backup()
    server.run("DELETE FROM book WHERE id > 10")
    trigger = "CREATE TRIGGER late AFTER DELETE ON book FOR EACH ROW SET @x = 1"
    with loaded(lambda: server.run(trigger)), pytest.raises(RestoreRefused, match="late of book"):
        restore("book")
    assert server.count("book") == 10
    server.run("DROP TRIGGER late")


# --- others at work


def test_readers_are_not_in_the_way(server: MySQLServer) -> None:
    """They see the old rows until all the new ones are there."""
    create_backup()
    server.run("DELETE FROM book WHERE id > 10")
    with closing(server.connect()) as other:
        other.begin()
        other.query("SELECT * FROM book")
        restore("book")
    assert server.count("book") == BOOKS


def test_a_transaction_in_the_way_is_ended_with_disconnect(server: MySQLServer) -> None:
    create_backup()
    server.run("DELETE FROM book WHERE id > 10")
    with closing(server.connect()) as other:
        other.begin()
        other.query("SELECT * FROM book FOR UPDATE")
        restore("book", disconnect=True)
    assert server.count("book") == BOOKS


def test_in_place_is_refused(server: MySQLServer) -> None:
    """A restore in place is one of the complete database."""
    create_backup()
    fail_to_restore(server, RestoreRefused, "leave out --in-place", "author", in_place=True)


def test_a_partner_that_is_being_deleted_is_waited_for(server: MySQLServer) -> None:
    """The one who deletes it saw no row that needs it; committed after ours, it would be missing."""
    server.site.configure(lock_timeout=1)
    create_backup()
    server.run("DELETE FROM book")
    with closing(server.connect()) as other, other.cursor() as cursor:
        other.begin()
        cursor.execute("DELETE FROM author WHERE id = 50")
        fail_to_restore(server, RestoreFailed, "Lock wait timeout.*as it was", "book")
