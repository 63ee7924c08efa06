"""What the server took once comes back, although it would refuse it today; nothing of this machine is read for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from django_cfg.backup import create_backup, drill_backup, restore_backup
from django_cfg.backup.errors import BackupError, RestoreFailed
from django_cfg.backup.manifest import Manifest
from tests.support.databases import fail_unless_equal
from tests.support.forged_backups import forge
from tests.support.mysql_databases import MySQLServer

WIDE = ", ".join([f"c{i} TEXT" for i in range(196)] + [f"v{i} VARCHAR(40) CHARACTER SET latin1" for i in range(30)])
WIDE_TABLE = (
    "SET SESSION innodb_strict_mode = OFF",
    f"CREATE TABLE wide (id INT PRIMARY KEY, {WIDE}) ROW_FORMAT=COMPACT",
    "INSERT INTO wide (id) VALUES (1), (2)",
)
UNCHECKED_ROWS = (
    "SET SESSION check_constraint_checks = 0",
    "CREATE TABLE payload (id INT PRIMARY KEY, doc JSON, qty INT, CONSTRAINT qty_pos CHECK (qty >= 0))",
    "INSERT INTO payload VALUES (1, 'not json', 1), (2, '{}', -5)",
)

ANY_DATE = (
    "SET SESSION sql_mode = 'ALLOW_INVALID_DATES'",
    "CREATE TABLE day (id INT PRIMARY KEY, d DATE DEFAULT '2021-04-31', at DATETIME(3), KEY (d))",
    "INSERT INTO day VALUES (1, '2020-02-31', '2020-02-30 12:00:00.5'), (2, DEFAULT, '0000-00-00')",
)


@pytest.fixture
def server(mysql_server: MySQLServer) -> MySQLServer:
    return mysql_server


@pytest.mark.parametrize(
    "statements", [WIDE_TABLE, UNCHECKED_ROWS, ANY_DATE], ids=["strict mode", "checks", "days that no month has"]
)
def test_a_restore_and_a_drill(server: MySQLServer, statements: tuple[str, ...]) -> None:
    server.run(*statements)
    before = server.text()
    manifest = create_backup()
    server.run("DELETE FROM book")
    restore_backup(manifest.name)
    fail_unless_equal(before, server.text())
    restore_backup(manifest.name, to="empty")
    fail_unless_equal(before, server.text("empty"))
    drill_backup(manifest.name)
    restore_backup(manifest.name, in_place=True)
    fail_unless_equal(before, server.text())


def test_by_an_ordinary_user(server: MySQLServer) -> None:
    server.run(*WIDE_TABLE)
    server.run(*UNCHECKED_ROWS)
    before = server.text()
    manifest = create_backup()
    user = server.user(
        "restorer@'%'", "ALL PRIVILEGES ON {db}.*", r"ALL PRIVILEGES ON `{db}\_\_restore\_%`.*",
        "SELECT ON mysql.proc",
    )  # fmt: skip
    server.act_as(user)
    restore_backup(manifest.name)
    server.use()
    fail_unless_equal(before, server.text())


def test_a_table_as_it_is_now_takes_only_rows_that_fit_its_checks(server: MySQLServer) -> None:
    server.run(*UNCHECKED_ROWS)
    create_backup()
    server.run("DELETE FROM payload")
    with pytest.raises(RestoreFailed, match=r"CONSTRAINT `payload\.\w+` failed"):
        restore_backup("latest", tables=["payload"])
    assert server.count("payload") == 0


@pytest.mark.parametrize("way", [restore_backup, drill_backup])
def test_an_archive_that_reads_files_of_this_machine(server: MySQLServer, way: object, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("1\n2\n3\n")
    home = server.databases["empty"]
    server.run("CREATE TABLE loot (id int)", alias="empty")
    manifest: Manifest = create_backup()

    def add(dump: bytes) -> bytes:
        at = dump.rindex(b"/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE")
        return dump[:at] + f"LOAD DATA LOCAL INFILE '{secret}' INTO TABLE `{home}`.loot;\n".encode() + dump[at:]

    forge(server.site, manifest, add)
    with pytest.raises(BackupError, match="disabled the local infile"):
        (restore_backup if way is restore_backup else drill_backup)(manifest.name)
    assert server.count("loot", alias="empty") == 0
