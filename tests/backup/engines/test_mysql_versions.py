"""What a server does not know is reported before anything is touched."""

from __future__ import annotations

import hashlib

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.mysql.dump_scanner import DumpScanner
from django_cfg.backup.errors import BackupError, RestoreFailed, RestoreRefused
from django_cfg.backup.manifest import Manifest
from tests.support.databases import BOOKS, fail_unless_equal
from tests.support.mysql_databases import MySQLServer


@pytest.fixture
def server(mysql_server: MySQLServer) -> MySQLServer:
    mysql_server.site.configure(compression="none")
    return mysql_server


def of_a_newer_server(server: MySQLServer) -> Manifest:
    """A backup whose manifest names a later version."""
    manifest = create_backup()
    path = server.site.backups / manifest.key
    path.write_text(path.read_text().replace(f'"{manifest.engine.server_version}"', '"99.1.2"', 1))
    return manifest


def with_other_words(server: MySQLServer, old: str, new: str) -> None:
    """A backup of such as have *new* where ours has *old*; of one length."""
    manifest = create_backup()
    path = server.site.backups / manifest.archive_key
    data = path.read_bytes()
    assert old.encode() in data
    data = data.replace(old.encode(), new.encode())
    path.write_bytes(data)
    about = server.site.backups / manifest.key
    about.write_text(about.read_text().replace(manifest.archive.sha256, hashlib.sha256(data).hexdigest()))


def refuse(server: MySQLServer, kind: type[BackupError], message: str, *, in_place: bool) -> None:
    server.run("DELETE FROM book WHERE id > 10")
    before = server.text()
    with pytest.raises(kind, match=message):
        restore_backup(in_place=in_place)
    fail_unless_equal(before, server.text())
    assert server.schemas() == set()


def test_an_older_server_is_reported(server: MySQLServer) -> None:
    """Next to the database it may be tried."""
    of_a_newer_server(server)
    server.run("DELETE FROM book")
    answer = server.site.call("backup_restore", "--yes")
    assert answer.code == 0, answer.stderr
    assert "is of version 99.1.2, and the server is MariaDB 10" in answer.stderr
    assert "makes the restore fail, and then nothing is changed" in answer.stderr
    assert server.count("book") == BOOKS


def test_an_older_server_is_not_emptied_on_trial(server: MySQLServer) -> None:
    of_a_newer_server(server)
    refuse(
        server, RestoreRefused, r"99\.1\.2.*would find that out after .* has been emptied.*--to ALIAS", in_place=True
    )


def test_an_empty_database_has_nothing_to_lose(server: MySQLServer) -> None:
    of_a_newer_server(server)
    restore_backup(to="empty", in_place=True)
    assert server.count("book", "empty") == BOOKS


@pytest.mark.parametrize("in_place", [True, False])
def test_an_unknown_collation(server: MySQLServer, *, in_place: bool) -> None:
    """In place it is found before the database is emptied for it, next to it by the server as it loads."""
    server.run("CREATE TABLE words (t text) COLLATE utf8mb4_german2_ci")
    with_other_words(server, "utf8mb4_german2_ci", "utf8mb4_german9_ci")
    kind = RestoreRefused if in_place else RestoreFailed
    message = "uses utf8mb4_german9_ci, and .* Nothing was changed" if in_place else "Unknown collation.*as it was"
    refuse(server, kind, message, in_place=in_place)


def test_an_unknown_collation_of_code(server: MySQLServer) -> None:
    server.script("SET NAMES utf8mb4 COLLATE utf8mb4_german2_ci; CREATE PROCEDURE work() SELECT 1;")
    with_other_words(server, "utf8mb4_german2_ci", "utf8mb4_german9_ci")
    refuse(server, RestoreRefused, "uses utf8mb4_german9_ci, and", in_place=True)


def test_what_a_dump_names() -> None:
    """Not what its comments, defaults and names say, nor what its routines do."""
    scanner = DumpScanner()
    for text in (
        b"CREATE TABLE `COLLATE no1` (a text CHARACTER SET latin1 COLLATE latin1_bin COMMENT 'it''s \\' COLLATE=no2', "
        b"b text DEFAULT ' CHARSET no3') ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
        b"/*!50003 SET collation_connection  = utf8mb4_unicode_ci */",
        b"/*!50003 SET character_set_client  = utf8mb3 */",
        b"/*!50003 SET collation_connection  = @saved_col_connection */",
        b"ALTER DATABASE `x` CHARACTER SET ascii COLLATE ascii_bin",
        b"CREATE PROCEDURE a() SELECT CONVERT('x' USING no4) COLLATE no5",
    ):
        scanner.feed(text + b";\n")
    assert scanner.collations == {"latin1_bin", "utf8mb4_bin", "utf8mb4_unicode_ci", "ascii_bin"}
    assert scanner.charsets == {"latin1", "utf8mb4", "utf8mb3", "ascii"}
