"""Some tables of a backup into a MySQL or MariaDB database as it is."""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest

from django_cfg.backup import create_backup, list_backups, restore_backup
from django_cfg.backup.engines.base import RestoreOptions
from django_cfg.backup.engines.mysql.columns import Column
from django_cfg.backup.engines.mysql.session import Session
from django_cfg.backup.engines.mysql.tables import SomeTables
from django_cfg.backup.errors import BackupError, IntegrityError, RestoreFailed, RestoreRefused, UsageError
from django_cfg.backup.services.restore import plan_restore
from tests.backup.engines.contract import AUTHORS, BOOKS
from tests.backup.engines.kills import run_and_kill
from tests.backup.engines.mysql_kinds import KINDS
from tests.backup.engines.mysql_server import MySQLServer, fail_unless_equal
from tests.backup.engines.restore_contract import received


@pytest.fixture
def server(mysql_server: MySQLServer) -> MySQLServer:
    return mysql_server


def restore(*tables: str, **options: Any) -> Any:
    return restore_backup(tables=tables, discard_old=True, **options)


def told(*tables: str) -> str:
    outlook = plan_restore(options=RestoreOptions(tables=tables, discard_old=True)).outlook
    return "\n".join(finding.text for finding in outlook.findings)


def fail_to_restore(server: MySQLServer, kind: type[BackupError], message: str, *tables: str, **options: Any) -> None:
    """It fails with *message*, the database is as it was, and no schema is left beside it."""
    before = server.text()
    with pytest.raises(kind, match=f"(?s){message}") as failure:
        restore(*tables, **options)
    assert type(failure.value) is kind
    fail_unless_equal(before, server.text())
    assert server.schemas() == set()


@contextmanager
def loaded(act: Callable[[], object]) -> Iterator[None]:
    """A block in whose restores *act* is carried out when all is loaded and checked, right before the switch."""
    with received(lambda **facts: act()):  # type: ignore[misc]
        yield


# --- what comes back


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
    server.user("owner@'%'", "ALL ON {db}.*", "SELECT ON mysql.proc")
    server.use(USER="owner", PASSWORD="pw")
    fail_to_restore(server, RestoreRefused, "owner@% may not make a schema.*--to", "book")
    assert len(list_backups()) == 1


def test_a_user_who_may_not_delete(server: MySQLServer) -> None:
    create_backup()
    database = server.databases["default"]
    server.user("keeper@'%'", "ALL ON {db}.*", rf"ALL ON `{database}\_\_restore\_%`.*", "SELECT ON mysql.proc")
    server.server.sql(f"REVOKE DELETE ON {database}.* FROM keeper@'%'")
    server.use(USER="keeper", PASSWORD="pw")
    fail_to_restore(server, RestoreRefused, "may not do all.*GRANT DELETE ON", "book")
    server.server.sql(f"GRANT DELETE ON {database}.* TO keeper@'%'")
    server.run("DELETE FROM book")
    restore("book")
    assert server.count("book") == BOOKS


# --- what undoes everything


def test_a_column_that_is_gone(server: MySQLServer) -> None:
    create_backup()
    server.run("ALTER TABLE book DROP COLUMN title")
    fail_to_restore(server, RestoreFailed, "the columns title, which the database has not any more", "author", "book")


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
    assert not column(new).holds(column(old))


def column(text: str) -> Column:
    kind, _, length = text.partition("(")
    precision = int(length.rstrip(")") or 0) if "time" in kind else 0
    return Column("x", text, kind, precision, stored=True)


def test_a_wrong_count(server: MySQLServer) -> None:
    manifest = create_backup()
    path = server.site.backups / manifest.key
    path.write_text(path.read_text().replace(f'"rows": {BOOKS}', f'"rows": {BOOKS + 1}'))
    server.run("DELETE FROM book")
    fail_to_restore(server, IntegrityError, "book has 200 rows instead of 201", "book")


def test_a_scratch_that_changed_after_it_was_checked(server: MySQLServer) -> None:
    """The rows are counted once more where they have arrived."""
    create_backup()
    server.run("DELETE FROM book WHERE id > 10")

    def change() -> None:
        (scratch,) = server.schemas()
        server.server.sql(f"DELETE FROM {scratch}.book WHERE id = 7")

    with loaded(change):
        fail_to_restore(server, IntegrityError, "book has 199 rows instead of 200", "book")


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


def test_another_restore_is_running(server: MySQLServer) -> None:
    server.site.configure(lock_timeout=1)
    create_backup()

    def begin_another() -> None:
        with pytest.raises(RestoreRefused, match="Another restore of the database 'default' is running"):
            restore("book")

    with loaded(begin_another):
        restore("book")
    assert server.schemas() == set()


# --- an end in the middle


def interrupted(wanted: Callable[[int, str], bool], act: Callable[[Session], object]) -> Callable[[], object]:
    """A restore of two tables in which *act* comes before the statement of its switch, by number or text, *wanted*."""
    count = itertools.count(1)
    switch, run = SomeTables.switch, Session._run

    def counted(session: Session, statement: Any, values: Any) -> None:
        if wanted(next(count), str(statement)):
            act(session)
        run(session, statement, values)

    def switched(restoration: SomeTables) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Session, "_run", counted)
            return switch(restoration)

    def carried_out() -> object:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SomeTables, "switch", switched)
            return restore("book", "second")

    return carried_out


def kill_itself(server: MySQLServer, number: int) -> None:
    """A restore in a process that is killed, with its children, before the statement *number* of its switch."""
    server.site.close()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        with suppress(BaseException):
            interrupted(lambda count, _: count == number, lambda _: os.killpg(0, signal.SIGKILL))()
        os._exit(0)
    os.waitpid(pid, 0)


@pytest.fixture
def two(server: MySQLServer) -> MySQLServer:
    """A backup with two tables of one generation, and a database of another."""
    server.run("CREATE TABLE second (id int PRIMARY KEY, title varchar(100))",
               "INSERT INTO second SELECT id, title FROM book")  # fmt: skip
    create_backup()
    age(server)
    return server


STATEMENTS = 10  # of a switch of two tables, the last of which commits


def age(server: MySQLServer) -> None:
    server.run("UPDATE book SET title = 'old'", "UPDATE second SET title = 'old'", "DELETE FROM second WHERE id > 100")


def generation(server: MySQLServer) -> str:
    """Of both tables, which is one."""
    (found,) = server.run("SELECT title = 'old' FROM book UNION SELECT title = 'old' FROM second")
    name = "old" if found == (1,) else "new"
    assert (server.count("book"), server.count("second")) == (BOOKS, 100 if name == "old" else BOOKS)
    return name


def test_killed_in_the_middle_it_is_wholly_old(two: MySQLServer) -> None:
    """And the next restore removes what the dead one left."""
    for number in random.sample(range(1, STATEMENTS), 2):
        kill_itself(two, number)
        assert generation(two) == "old"
        assert two.schemas()
    restore("book", "second")
    assert (generation(two), two.schemas()) == ("new", set())


@pytest.mark.long
def test_killed_before_every_statement(two: MySQLServer) -> None:
    seen = []
    while not seen or two.schemas():
        kill_itself(two, len(seen) + 1)
        seen.append(generation(two))
    assert seen == ["old"] * STATEMENTS + ["new"]


@pytest.mark.long
def test_killed_at_random_moments(two: MySQLServer) -> None:
    """With rows enough that the server is at work when it happens."""
    two.run("INSERT INTO book SELECT seq, REPEAT('x', 90), 1 FROM seq_1000_to_60000",
            "INSERT INTO second SELECT id, title FROM book WHERE id >= 1000")  # fmt: skip
    latest = create_backup().name
    took = run_and_kill(two.site, lambda: restore("book", "second"), None)
    for _ in range(12):
        two.run("UPDATE book SET title = 'old'", "UPDATE second SET title = 'old'")
        run_and_kill(two.site, lambda: restore("book", "second", name=latest), random.uniform(took / 3, took))
        old = two.run("SELECT DISTINCT title = 'old' FROM book UNION ALL SELECT DISTINCT title = 'old' FROM second")
        assert old in ([(0,), (0,)], [(1,), (1,)])


def lose_connection(session: Session) -> None:
    """As if an administrator, or a net, ended it."""
    session.connection._sock.shutdown(socket.SHUT_RDWR)


def test_a_lost_connection_in_the_middle(two: MySQLServer) -> None:
    with pytest.raises(RestoreFailed, match="as it was"):
        interrupted(lambda _, text: "INSERT INTO" in text and "second" in text, lose_connection)()
    assert generation(two) == "old"
    restore("book", "second")
    assert (generation(two), two.schemas()) == ("new", set())


def test_a_connection_lost_at_the_very_end_is_told_as_what_it_is(two: MySQLServer) -> None:
    """Nobody knows then, and nobody says that all is as it was."""
    with pytest.raises(RestoreFailed, match=r"did not answer.*wholly as they were or wholly as in the backup"):
        interrupted(lambda _, text: text == "COMMIT", lose_connection)()
    assert generation(two) == "old"
