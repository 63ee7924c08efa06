"""Some tables of a MySQL or MariaDB backup: an end in the middle leaves them all old or all new."""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from django_cfg.backup import create_backup
from django_cfg.backup.engines.mysql.session import Session
from django_cfg.backup.engines.mysql.table_restore import TableRestoration
from django_cfg.backup.errors import RestoreFailed
from tests.backup.engines.tables_contract import restore
from tests.support.databases import BOOKS
from tests.support.killed_process import run_and_kill
from tests.support.mysql_databases import MySQLServer


@pytest.fixture
def server(mysql_server: MySQLServer) -> MySQLServer:
    return mysql_server


def interrupted(wanted: Callable[[int, str], bool], act: Callable[[Session], object]) -> Callable[[], object]:
    """A restore of two tables in which *act* comes before the statement of its switch, by number or text, *wanted*."""
    count = itertools.count(1)
    switch, run = TableRestoration.switch, Session._run

    def counted(session: Session, statement: Any, values: Any) -> None:
        if wanted(next(count), str(statement)):
            act(session)
        run(session, statement, values)

    def switched(restoration: TableRestoration) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Session, "_run", counted)
            return switch(restoration)

    def carried_out() -> object:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TableRestoration, "switch", switched)
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


def test_killed_in_the_middle_it_is_all_old(two: MySQLServer) -> None:
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
    two.run("UPDATE book SET title = 'new'", "INSERT INTO book SELECT seq, 'new', 1 FROM seq_1000_to_60000",
            "DELETE FROM second", "INSERT INTO second SELECT id, title FROM book")  # fmt: skip
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


def test_a_connection_lost_at_the_very_end_is_reported_as_such(two: MySQLServer) -> None:
    """The state is unknown then, and no message says that all is as it was."""
    with pytest.raises(RestoreFailed, match=r"did not answer.*as they were, or all of them are as in the backup"):
        interrupted(lambda _, text: text == "COMMIT", lose_connection)()
    assert generation(two) == "old"
