"""A restore of a MySQL database is complete or not at all: what goes wrong before the switch changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pymysql
import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.errors import BackupError, RestoreFailed, RestoreRefused
from tests.backup.engines.failures_contract import RestoreFailuresContract
from tests.support.databases import BOOKS, DatabaseServer, fail_unless_equal
from tests.support.forged_backups import forge
from tests.support.mysql_databases import MySQLServer
from tests.support.processes import child_running, children, in_parallel, wait_until


@pytest.fixture
def server(mysql_server: MySQLServer) -> Iterator[MySQLServer]:
    before = children()
    yield mysql_server
    assert children() <= before


@pytest.fixture
def changed(server: MySQLServer) -> MySQLServer:
    """A backup was made, and the database changed afterwards."""
    server.run(*TestRestoreFailures.prepared)
    create_backup()
    server.run("DELETE FROM book WHERE id > 10", "CREATE TABLE later (i int)", *TestRestoreFailures.changes)
    return server


def fail_to_restore(server: MySQLServer, kind: type[BackupError], message: str) -> None:
    """A restore fails with *message*, the database is as it was, and no schema is left next to it."""
    before = server.text()
    with pytest.raises(kind, match=f"(?s){message}") as failure:
        restore_backup()
    assert type(failure.value) is kind
    fail_unless_equal(before, server.text())
    assert server.schemas() == set()


class TestRestoreFailures(RestoreFailuresContract):
    prepared = (
        "CREATE VIEW titles AS SELECT title FROM book",
        "CREATE TRIGGER guard BEFORE INSERT ON book FOR EACH ROW SET NEW.title = 'guarded'",
        "CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DO SET @x = 1",
    )
    changes = ("CREATE TRIGGER later_guard BEFORE INSERT ON later FOR EACH ROW SET NEW.i = 1",)
    program = "mariadb"
    vendor = "mariadb"
    refused = "mariadb ended with exit code 1: ERROR 4161.*'longtxet'"
    lock_message = "Lock wait timeout.*as it was.*stop the site"

    @pytest.fixture
    def server(self, mysql_server: MySQLServer) -> MySQLServer:
        return mysql_server

    def make_unloadable(self, server: DatabaseServer) -> None:
        """A statement that this server does not take."""
        server.run("CREATE TABLE wide (t longtext)")
        forge(server.site, create_backup(), lambda dump: dump.replace(b"longtext", b"longtxet"))

    @contextmanager
    def held(self, server: DatabaseServer) -> Iterator[None]:
        """What was taken away for the switch is given back."""
        assert isinstance(server, MySQLServer)
        with closing(server.connect()) as other:
            other.begin()
            other.query("SELECT * FROM book FOR UPDATE")
            yield


# --- before the switch


def test_a_table_of_another_schema_refers_to_ours(changed: MySQLServer) -> None:
    """After the switch it would refer to the old data: refused, the constraint named."""
    other = changed.databases["empty"]
    database = changed.databases["default"]
    changed.run(
        f"CREATE TABLE far (b int, CONSTRAINT far_key FOREIGN KEY (b) REFERENCES {database}.book (id))", alias="empty"
    )
    try:
        fail_to_restore(changed, RestoreRefused, f"far_key of {other}.far")
    finally:
        changed.run("DROP TABLE far", alias="empty")


# --- at the switch


def test_a_table_without_triggers_is_in_the_way(changed: MySQLServer) -> None:
    """The triggers are gone already when the tables cannot be moved: they come back, and the events."""
    changed.site.configure(lock_timeout=1)
    with changed.locked("author"):
        fail_to_restore_under_lock(changed)
    restore_backup()


def fail_to_restore_under_lock(server: MySQLServer) -> None:
    code = (
        "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE() "
        "UNION SELECT event_name FROM information_schema.events WHERE event_schema = DATABASE() ORDER BY 1"
    )
    before = server.run(code)
    assert len(before) == 3
    with pytest.raises(RestoreFailed, match=r"(?s)Lock wait timeout.*as it was"):
        restore_backup()
    assert server.run(code) == before
    assert server.schemas() == set()


def test_connections_never_see_a_mixture(changed: MySQLServer) -> None:
    """All tables change in one moment: a session that reads two of them sees both old or both new."""
    changed.run("CREATE TABLE era (name varchar(10))", "INSERT INTO era VALUES ('new')", "DROP TABLE later",
                "CREATE TABLE second (name varchar(10))", "INSERT INTO second VALUES ('new')")  # fmt: skip
    create_backup()
    changed.run("UPDATE era SET name = 'old'", "UPDATE second SET name = 'old'")
    over = threading.Event()
    seen: set[tuple[str, str]] = set()

    def read() -> None:
        with closing(changed.connect()) as connection, connection.cursor() as cursor:
            while not over.is_set():
                cursor.execute("SELECT era.name, second.name FROM era, second")
                seen.update(cursor.fetchall())

    with in_parallel(read):
        try:
            wait_until(lambda: seen)
            restore_backup()
            wait_until(lambda: ("new", "new") in seen)
        finally:
            over.set()
    assert seen == {("old", "old"), ("new", "new")}


# --- definers


def test_a_definer_that_does_not_exist_is_named(server: MySQLServer) -> None:
    """Everything comes back and works, belongs to who restored it, and the lost one is named."""
    leaver = server.user("leaver@'%'", "ALL ON {db}.*")
    server.run(f"CREATE DEFINER={leaver} VIEW titles AS SELECT title FROM book",
               f"CREATE DEFINER={leaver} PROCEDURE work() SELECT COUNT(*) FROM book",
               f"CREATE DEFINER={leaver} EVENT nightly ON SCHEDULE EVERY 1 DAY DO SET @x = 1",
               f"CREATE DEFINER={leaver} TRIGGER guard BEFORE INSERT ON book FOR EACH ROW SET @x = 9")  # fmt: skip
    quoted = f"`{leaver.partition('@')[0]}`@`%`"
    assert create_backup().engine.roles == (quoted,)
    server.server.sql(f"DROP USER {leaver}")
    advice = restore_backup().advice
    assert quoted in advice
    assert "belong to the user who restored" in advice
    assert server.run("CALL work()") == [(BOOKS,)]
    assert server.count("titles") == BOOKS
    server.run("INSERT INTO book VALUES (1000, '', 1)")
    assert server.run("SELECT definer FROM information_schema.events WHERE event_schema = DATABASE()") == [
        ("root@127.0.0.1",)
    ]


def test_a_user_who_may_not_name_another_definer(server: MySQLServer) -> None:
    database = server.databases["default"]
    server.run("CREATE VIEW titles AS SELECT title FROM book", "CREATE FUNCTION one() RETURNS int RETURN 1")
    create_backup()
    scratch = rf"`{database}\_\_restore\_%`"
    user = server.user("keeper@'%'", "ALL ON {db}.*", f"ALL ON {scratch}.*", "SELECT ON mysql.proc")
    server.act_as(user)
    switched = restore_backup()
    assert "`root`@`127.0.0.1`" in switched.advice
    assert switched.old_data in server.schemas()
    assert server.run("SELECT one(), COUNT(*) FROM titles") == [(1, BOOKS)]


# --- what was set aside


def test_a_schema_that_only_looks_like_ours_is_left_alone(changed: MySQLServer) -> None:
    database = changed.databases["default"]
    foreign = f"{database}__restore_new_20200101000000"
    changed.server.sql(f"CREATE DATABASE {foreign}", f"CREATE TABLE {foreign}.precious (i int)")
    restore_backup()
    assert foreign in changed.schemas()


def test_nothing_to_resume(changed: MySQLServer) -> None:
    answer = changed.site.call("backup_restore", "--resume", "--database", "default")
    assert answer.code == 2
    assert "nothing to resume" in answer.stderr


def test_a_lost_connection_is_no_crash(changed: MySQLServer) -> None:
    """The session that holds the restore's lock is killed by an administrator: the switch does not begin."""
    changed.run(changed.many_books)
    create_backup()

    def kill() -> None:
        wait_until(lambda: child_running("mariadb"))
        query = "SELECT id FROM information_schema.processlist WHERE db = %s AND command = 'Sleep'"
        with closing(changed.server.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(query, [changed.databases["default"]])
            for (number,) in cursor.fetchall():
                cursor.execute(f"KILL {number}")

    with in_parallel(kill), pytest.raises((RestoreFailed, pymysql.Error), match=r"as it was|Lost connection"):
        restore_backup()
    assert changed.count("book") > BOOKS
    changed.site.close()
    restore_backup()
