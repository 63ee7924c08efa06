"""Some tables of a MySQL or MariaDB backup: what is refused, what undoes it, and who else is at work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager

import pytest

from django_cfg.backup import create_backup, list_backups
from django_cfg.backup.engines.mysql.table_restore import Column
from django_cfg.backup.errors import RestoreFailed, RestoreRefused, TablesDiffer, UsageError
from tests.support.databases import BOOKS, fail_unless_equal
from tests.support.mysql_databases import MySQLServer
from tests.support.mysql_objects import KINDS
from tests.support.mysql_table_restore import fail_to_restore, restore
from tests.support.restore_receiver import received


@pytest.fixture
def server(mysql_server: MySQLServer) -> MySQLServer:
    return mysql_server


@contextmanager
def loaded(act: Callable[[], object]) -> Iterator[None]:
    """A block in whose restores *act* is carried out when all is loaded and checked, right before the switch."""
    with received(lambda **facts: act()):  # type: ignore[misc]
        yield


# --- what is refused, before anything is done


def test_what_cannot_be_done_is_refused_before(server: MySQLServer) -> None:
    server.site.configure(databases=[{"alias": "default", "exclude_tables": ["book"]}])
    create_backup()
    fail_to_restore(server, UsageError, "--tables of the database 'default' names 'bok'", "bok")
    fail_to_restore(server, RestoreRefused, "left out the rows of book", "book")
    fail_to_restore(server, RestoreRefused, "leave out --in-place", "author", in_place=True)
    server.run("DROP TABLE book", "DROP TABLE author", "CREATE VIEW author AS SELECT 1", "CREATE TABLE other (i int)")
    fail_to_restore(server, RestoreRefused, "has no table author.*--to", "author")


@pytest.mark.parametrize("kind", ["INSERT", "DELETE"])
def test_triggers_that_would_fire(server: MySQLServer, kind: str) -> None:
    """They are named, and what to do; those of UPDATE and of other tables are in nobody's way."""
    server.run("CREATE TABLE log (what text)",
               f"CREATE TRIGGER `tell it` AFTER {kind} ON book FOR EACH ROW INSERT INTO log VALUES ('{kind}')",
               "CREATE TRIGGER quiet BEFORE UPDATE ON author FOR EACH ROW INSERT INTO log VALUES ('x')")  # fmt: skip
    create_backup()
    fail_to_restore(server, RestoreRefused, "would fire.*tell it of book: drop them.*--to", "book", "author")
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


def test_a_column_that_is_gone(server: MySQLServer) -> None:
    create_backup()
    server.run("ALTER TABLE book DROP COLUMN title")
    fail_to_restore(
        server, RestoreFailed, "the columns title, which the database does not have any more", "author", "book"
    )


@pytest.mark.parametrize(
    ("old", "value", "new", "words"),
    [
        ("varchar(20)", "'too long'", "varchar(3)", "Data too long.*as it was"),
        ("decimal(9, 4)", "1.2345", "decimal(9, 2)", "changed do not fit.*Data truncated.*as it was"),
        ("double", "0.1", "float", r"x \(double, here float\), whose values might not stay the same"),
        ("int", "-1", "int CHECK (x > 0)", "CONSTRAINT.*as it was"),
    ],
)
def test_values_that_do_not_fit_any_more(server: MySQLServer, old: str, value: str, new: str, words: str) -> None:
    """Nothing is cut, rounded or turned into something else."""
    server.run(f"CREATE TABLE changed (x {old})", f"INSERT INTO changed VALUES ({value})")
    create_backup()
    server.run("DELETE FROM changed", f"ALTER TABLE changed MODIFY x {new}", "DELETE FROM book")
    fail_to_restore(server, RestoreFailed, words, "book", "changed")


def test_columns_that_became_wider(server: MySQLServer) -> None:
    server.run(
        "CREATE TABLE changed (a varchar(3), b char(3), c int, d enum('a', 'b'), e datetime, "
        "f varchar(9) CHARACTER SET latin1, g decimal(5, 1), h varbinary(3), i date)",
        "INSERT INTO changed VALUES ('abc', 'abc', -7, 'b', '2025-01-15 02:00:00', 'Ä', 1.5, 0xff00, '2025-01-15')",
    )
    create_backup()
    server.run(
        "ALTER TABLE changed MODIFY a varchar(200), MODIFY b text, MODIFY c bigint, MODIFY d enum('c', 'b', 'a'), "
        "MODIFY e datetime(6), MODIFY f varchar(9), MODIFY g decimal(9, 3), MODIFY h blob, MODIFY i datetime"
    )
    before = server.text()
    server.run("DELETE FROM changed")
    restore("changed")
    fail_unless_equal(before, server.text())


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


def test_a_wrong_count(server: MySQLServer) -> None:
    manifest = create_backup()
    path = server.site.backups / manifest.key
    path.write_text(path.read_text().replace(f'"rows": {BOOKS}', f'"rows": {BOOKS + 1}'))
    server.run("DELETE FROM book")
    fail_to_restore(server, TablesDiffer, "book has 200 rows instead of 201", "book")


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


def test_a_transaction_is_in_the_way(server: MySQLServer) -> None:
    """Readers are not: they see the old rows until all the new ones are there."""
    server.site.configure(lock_timeout=1)
    create_backup()
    server.run("DELETE FROM book WHERE id > 10")
    with closing(server.connect()) as other:
        other.begin()
        other.query("SELECT * FROM book WHERE id = 3 FOR UPDATE")
        fail_to_restore(server, RestoreFailed, "Lock wait timeout.*as it was.*stop the site", "book")
        other.commit()
        other.begin()
        other.query("SELECT * FROM book")
        restore("book")
    assert server.count("book") == BOOKS


def test_a_partner_that_is_being_deleted_is_waited_for(server: MySQLServer) -> None:
    """The one who deletes it saw no row that needs it; committed after ours, it would be missing."""
    server.site.configure(lock_timeout=1)
    create_backup()
    server.run("DELETE FROM book")
    with closing(server.connect()) as other, other.cursor() as cursor:
        other.begin()
        cursor.execute("DELETE FROM author WHERE id = 50")
        fail_to_restore(server, RestoreFailed, "Lock wait timeout.*as it was", "book")


def test_connections_in_the_way_are_ended_when_told(server: MySQLServer) -> None:
    create_backup()
    server.run("DELETE FROM book WHERE id > 10")
    with closing(server.connect()) as other:
        other.begin()
        other.query("SELECT * FROM book FOR UPDATE")
        restore("book", disconnect=True)
    assert server.count("book") == BOOKS


def test_another_restore_is_running(
    server: MySQLServer, another_machine: Callable[[], AbstractContextManager[None]]
) -> None:
    server.site.configure(lock_timeout=1)
    create_backup()

    def begin_another() -> None:
        with (
            another_machine(),
            pytest.raises(RestoreRefused, match="Another restore of the database 'default' is running"),
        ):
            restore("book")

    with loaded(begin_another):
        restore("book")
    assert server.schemas() == set()
