"""Rows and statements that the server and its client quote reach no message, no mail, no history and no proof."""

from __future__ import annotations

import subprocess
import traceback
from collections.abc import Iterator

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.mysql.error_text import remove_row_data
from django_cfg.backup.errors import BackupError, RestoreFailed
from tests.support.forged_backups import forge
from tests.support.mariadb_server import mariadb_program
from tests.support.mysql_databases import MySQLServer

SECRET = "jane.doe@example.org"


@pytest.fixture
def server(mysql_server: MySQLServer) -> MySQLServer:
    return mysql_server


def client_output(server: MySQLServer, statement: str) -> str:
    where = ["--no-defaults", "--protocol=tcp", "--host=127.0.0.1", f"--port={server.server.port}", "--user=root"]
    argv = [mariadb_program("mariadb"), *where, "--batch", "--binary-mode", server.databases["default"]]
    done = subprocess.run(argv, input=statement, env=server.environment(), capture_output=True, text=True, check=False)
    return done.stderr


@pytest.mark.parametrize(
    ("statement", "kept"),
    [
        (f"INSERT INTO t (k) VALUES ('{SECRET}'), ('{SECRET}')", "ERROR 1062 (23000) at line 1: Duplicate entry '...' "
         "for key 'PRIMARY'"),
        (f"INSERT INTO t (k) VALUES ('\n--------------\n{SECRET}'), ('\n--------------\n{SECRET}')", "Duplicate"),
        (f"INSERT INTO t (k) VALUES ('{SECRET}'' for key ''b'), ('{SECRET}'' for key ''b')", "'...' for key 'PRIMARY'"),
        (f"INSERT INTO t (k, n) VALUES ('x', '{SECRET}')", "Incorrect integer value: '...' for column "),
        (f"INSERT INTO t (k, d) VALUES ('x', '{SECRET}\n'' at row')", "Incorrect datetime value: '...' for column "),
        (f"INSERT INTO t (k, j) VALUES ('x', '{SECRET}')", "CONSTRAINT `t.j` failed"),
        (f"INSERT INTO t (k, n) VALUES ('x', '1' '{SECRET}' x", "right syntax to use near '...' at line 1"),
        (f"INSERT INTO t (k, n) VALUES ('{SECRET}', 99999999999)", "Out of range value for column 'n' at row 1"),
        (f"INSERT INTO t (k, n) VALUES ('{SECRET}', ~0 + 777)", "BIGINT UNSIGNED value is out of range in '...'"),
        (f"INSERT INTO t (k, d) VALUES ('x', STR_TO_DATE('{SECRET}', '%Y'))", "'...' for function str_to_date"),
        ("INSERT INTO p VALUES (777)", "Table has no partition for value ..."),
        (f"INSERT INTO missing VALUES ('{SECRET}')", "ERROR 1146 (42S02) at line 1: Table 'default_"),
    ],
)  # fmt: skip
def test_what_the_client_prints(server: MySQLServer, statement: str, kept: str) -> None:
    server.run(
        "CREATE TABLE t (k varchar(90) PRIMARY KEY, n int, d datetime, j json)",
        "CREATE TABLE p (i int) PARTITION BY RANGE (i) (PARTITION low VALUES LESS THAN (3))",
    )
    raw = client_output(server, statement)
    assert SECRET in raw or "777" in raw
    said = remove_row_data(raw)
    assert SECRET not in said, said
    assert "777" not in said, said
    assert kept in said


def test_what_holds_no_row_stays_as_it_is() -> None:
    for text in (
        "Access denied for user 'root'@'127.0.0.1' (using password: YES)",
        "Unknown column 'x' in 'field list'",
        "Table 'shop.book' doesn't exist",
        'mariadb-dump: Got error: 2013: "Lost connection"',
    ):
        assert remove_row_data(text) == text


@pytest.fixture
def german(server: MySQLServer) -> Iterator[None]:
    """The server is set up to speak another language."""
    server.run("SET GLOBAL lc_messages = 'de_DE'")
    yield
    server.run("SET GLOBAL lc_messages = 'en_US'")


@pytest.mark.usefixtures("german")
def test_a_restore_that_a_row_makes_fail(server: MySQLServer) -> None:
    """Here a row that another one has in this collation; its text would be advice as well ("deadlock")."""
    server.run(
        "CREATE TABLE person (mail varchar(90) COLLATE utf8mb4_bin PRIMARY KEY) ENGINE=MyISAM",
        f"INSERT INTO person VALUES ('{SECRET} deadlock'), ('{SECRET.upper()} DEADLOCK')",
    )
    manifest = create_backup()
    forge(server.site, manifest, lambda dump: dump.replace(b"COLLATE utf8mb4_bin", b"COLLATE utf8mb4_general_ci"))
    for call in (lambda: restore_backup("latest"), lambda: restore_backup("latest", in_place=True)):
        with pytest.raises(RestoreFailed, match=r"Duplicate entry '\.\.\.' for key 'PRIMARY'") as failure:
            call()
        assert SECRET not in "".join(traceback.format_exception(failure.value))
        assert "Other connections" not in str(failure.value)
    answer = server.site.call("backup_verify", "latest", "--drill")
    assert "Duplicate entry" in answer.stdout + answer.stderr
    assert SECRET not in answer.stdout + answer.stderr
    sidecars = [path for path in server.site.backups.rglob("*.json") if path.is_file()]
    assert not [path for path in sidecars if SECRET in path.read_text()]


@pytest.mark.usefixtures("german")
def test_a_verification_query_that_a_row_makes_fail(server: MySQLServer) -> None:
    create_backup()
    query = f"SELECT ~0 + LENGTH('{SECRET}')"
    server.site.configure(databases=[{"alias": "default", "verification_queries": [query]}])
    with pytest.raises(BackupError, match=r"out of range in '\.\.\.'") as failure:
        restore_backup("latest")
    assert SECRET not in str(failure.value).replace(query, "")
