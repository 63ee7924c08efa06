"""The indexes of large tables are added after their rows: the database is the same, and what fails leaves nothing."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pymysql
import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.mysql import restore
from django_cfg.backup.errors import RestoreFailed
from tests.support import needs
from tests.support.databases import fail_unless_equal
from tests.support.mariadb_server import mariadb_program
from tests.support.mysql_databases import MySQLServer
from tests.support.mysql_objects import KINDS
from tests.support.processes import wait_until
from tests.support.server_process import free_port

ROWS = 4 * restore._MANY_ROWS
# A child that comes before the parent, to whose unique index it refers; and one that refers to itself.
FAMILY = f"""
CREATE TABLE child (id int AUTO_INCREMENT PRIMARY KEY, code varchar(20) NOT NULL, boss int, seen datetime,
    v int AS (LENGTH(code)), KEY seen (seen, code), KEY (v), KEY (boss),
    CONSTRAINT of_child FOREIGN KEY (boss) REFERENCES child (id));
CREATE TABLE parent (id int PRIMARY KEY, code varchar(20) NOT NULL, note text, UNIQUE KEY by_code (code),
    KEY by_note (note(20) DESC), FULLTEXT KEY words (note));
INSERT INTO parent SELECT seq, CONCAT('code', seq), REPEAT('ü;', seq % 50) FROM seq_1_to_{ROWS};
INSERT INTO child (code, boss) SELECT CONCAT('code', seq), NULL FROM seq_1_to_{ROWS};
ALTER TABLE child ADD CONSTRAINT of_parent FOREIGN KEY (code) REFERENCES parent (code) ON UPDATE CASCADE;
"""


@pytest.fixture
def server(mysql_server: MySQLServer) -> MySQLServer:
    return mysql_server


@pytest.fixture
def family(server: MySQLServer) -> MySQLServer:
    server.script(FAMILY)
    return server


@contextmanager
def programs(server: MySQLServer, folder: Path, **pipes: str) -> Iterator[None]:
    """A block in which the programs are scripts: the real program in a pipe, as *pipes* say for its name."""
    for name, pipe in pipes.items():
        script = folder / name.replace("_", "-")
        command = f'{mariadb_program(script.name)} "$@"'
        options = f'case "$*" in *--help*|*--version*) exec {command};; esac'
        script.write_text(f"#!/bin/sh\n{options}\n{pipe.format(command)}\n")
        script.chmod(0o755)
    server.site.always = {"tools_dir": str(folder)}
    server.site.configure()
    try:
        yield
    finally:
        server.site.always = {}
        server.site.configure()


def restore_and_list_added(server: MySQLServer, folder: Path) -> list[str]:
    """Restore; return the tables whose indexes the client added."""
    fed = folder / "fed"
    with programs(server, folder, mariadb=f"tee {fed} | {{}}", mariadb_dump="{}"):
        restore_backup()
    return re.findall(r"ALTER TABLE `(\w+)`\n  ADD ", fed.read_text())


def test_tables_and_their_keys_are_the_same(family: MySQLServer, tmp_path: Path) -> None:
    before = family.text()
    create_backup()
    family.run("SET foreign_key_checks = 0", "DROP TABLE child", "DROP TABLE parent")
    added = restore_and_list_added(family, tmp_path)
    assert added == ["child", "parent"], "small ones have theirs from the beginning"
    fail_unless_equal(before, family.text())
    with pytest.raises(pymysql.IntegrityError, match="foreign key constraint fails"):
        family.run("INSERT INTO child (code) VALUES ('unknown')")
    with pytest.raises(pymysql.IntegrityError, match="foreign key constraint fails"):
        family.run("DELETE FROM parent WHERE id = 1")
    family.run("UPDATE parent SET code = 'new' WHERE id = 1")
    assert family.run("SELECT id FROM child WHERE code = 'new'") == [(1,)]


def test_every_kind_of_table_is_the_same(server: MySQLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if each were large."""
    monkeypatch.setattr(restore, "_MANY_ROWS", 0)
    for first, _ in KINDS.values():
        server.script(first.replace("{db}", server.databases["default"]))
    before = server.text()
    create_backup()
    restore_backup()
    fail_unless_equal(before, server.text())
    restore_backup(to="empty")
    fail_unless_equal(before, server.text("empty"))


GALERA = Path("/usr/lib/galera/libgalera_smm.so")


def test_the_nodes_of_a_cluster_do_not_wait(own_mysql_server: MySQLServer, tmp_path: Path) -> None:
    """All of them would, for as long as an index takes."""
    if not GALERA.exists():
        needs.missing(f"the library {GALERA} is not installed")
    server = own_mysql_server
    server.script(FAMILY)
    server.server.stop()
    ports = [free_port(), free_port()]
    listen = f"base_port={ports[0]};gmcast.listen_addr=tcp://127.0.0.1:{ports[0]};ist.recv_addr=127.0.0.1:{ports[1]}"
    server.server.start(
        "--wsrep-on=ON", f"--wsrep-provider={GALERA}", "--wsrep-cluster-address=gcomm://", "--binlog-format=ROW",
        "--innodb-autoinc-lock-mode=2", f"--wsrep-provider-options={listen}", "--wsrep-node-address=127.0.0.1",
    )  # fmt: skip
    wait_until(lambda: server.server.sql("SHOW STATUS LIKE 'wsrep_ready'") == [("wsrep_ready", "ON")])
    before = server.text()
    create_backup()
    assert restore_and_list_added(server, tmp_path) == []
    fail_unless_equal(before, server.text())
    server.server.stop(kill=True)


def test_some_tables_take_the_same_way(family: MySQLServer) -> None:
    create_backup()
    before = family.text()
    family.run("UPDATE child SET seen = NOW()", "DELETE FROM child WHERE id > 9")
    restore_backup(tables=["child"])
    fail_unless_equal(before, family.text())


def test_a_value_that_is_there_twice_is_refused(family: MySQLServer, tmp_path: Path) -> None:
    """When the unique index is added, and without the value in the message; the database is as it was."""
    with programs(family, tmp_path, mariadb_dump="{} | sed -e '/INSERT INTO `parent`/,/;$/s/code12345/code12346/'"):
        create_backup()
    before = family.text()
    with pytest.raises(
        RestoreFailed, match=r"Duplicate entry .* for key 'by_code'.*The database is as it was"
    ) as error:
        restore_backup()
    assert "code12346" not in str(error.value)
    fail_unless_equal(before, family.text())
    assert family.schemas() == set()


def test_no_room_to_sort(family: MySQLServer, tmp_path: Path) -> None:
    """The server's own error, as it comes when its temporary files do not fit."""
    create_backup()
    before = family.text()
    error = "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1878, MESSAGE_TEXT = 'Temporary file write failure'"
    full = f'sed -e "s/^ALTER TABLE .parent.$/{error};/" | {{}}'
    expected = "Temporary file write failure.*The database is as it was.*innodb_tmpdir"
    with programs(family, tmp_path, mariadb=full, mariadb_dump="{}"), pytest.raises(RestoreFailed, match=expected):
        restore_backup()
    fail_unless_equal(before, family.text())
    assert family.schemas() == set()


# --- a restore that is ended while the server adds an index


# The client waits before it adds indexes until the test has let go of the lock of this name.
WAITS_FOR = """sed -e "s/^ALTER TABLE .parent.$/DO GET_LOCK('NAME', 60); &/" | {}"""


def end_while_it_adds(server: MySQLServer, number: signal.Signals, folder: Path) -> None:
    """End a restore, with its client if the signal is SIGKILL, when the server wants to add the indexes of a table,
    which it cannot: another session reads that table."""
    sql, name = server.server.sql, server.databases["default"]
    of_client = f"FROM information_schema.processlist WHERE db LIKE '{name}\\_\\_%' AND info LIKE"
    waiting = WAITS_FOR.replace("NAME", name)
    with (
        programs(server, folder, mariadb=waiting, mariadb_dump="{}"),
        closing(server.server.connect(name)) as reader,
        reader.cursor() as cursor,
    ):
        cursor.execute(f"DO GET_LOCK('{name}', 0)")
        pid = start_restore(server)
        wait_until(lambda: bool(sql(f"SELECT 1 {of_client} 'DO GET_LOCK%'")))
        ((schema,),) = sql(f"SELECT db {of_client} 'DO GET_LOCK%'")
        for statement in (f"USE {schema}", "BEGIN", "SELECT 1 FROM parent LIMIT 1"):
            cursor.execute(statement)
        cursor.execute(f"DO RELEASE_LOCK('{name}')")
        wait_until(lambda: bool(sql(f"SELECT 1 {of_client} 'ALTER TABLE%' AND state LIKE 'Waiting for%'")))
        os.kill(pid, number)
        os.waitpid(pid, 0)
        assert_continues(server, number)


def start_restore(server: MySQLServer) -> int:
    """Start a restore in a process of its own; return the number of that."""
    server.site.close()
    if pid := os.fork():
        return pid
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with suppress(BaseException):
        restore_backup()
    os._exit(0)


def assert_continues(server: MySQLServer, number: signal.Signals) -> None:
    left = server.schemas()
    if number == signal.SIGKILL:
        assert len(left) == 1
        restored = restore_backup()
        assert server.schemas() == {restored.old_data}
    else:
        assert left == set()
    query = f"SELECT info FROM information_schema.processlist WHERE db LIKE '{server.databases['default']}\\_\\_%'"
    assert server.server.sql(query) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_ended_while_an_index_is_added(family: MySQLServer, tmp_path: Path, number: signal.Signals) -> None:
    """The server would go on for as long as the index takes, and hold the table: that is ended, too."""
    create_backup()
    before = family.text()
    end_while_it_adds(family, number, tmp_path)
    fail_unless_equal(before, family.text())
