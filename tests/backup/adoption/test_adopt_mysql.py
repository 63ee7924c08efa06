"""Dumps that mariadb-dump made without this package, adopted with a server."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from django_cfg.backup import drill_backup, restore_backup, verify_backup
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.catalog.catalog import read_catalog
from django_cfg.backup.services.project.project import current_project
from tests.backup.adoption.conftest import Adopt
from tests.support.databases import AUTHORS, BOOKS
from tests.support.mysql_databases import MySQLServer

DBBACKUP = "default-web1-2026-01-31-020000.dump"  # as django-dbbackup names what MysqlDumpConnector writes


def dump(server: MySQLServer, path: Path, *options: str) -> Path:
    path.write_text(server.tool("mariadb-dump", *(options or ("--quick",)), server.databases["default"]).stdout)
    return path


def adopted() -> Manifest:
    (manifest,) = read_catalog(current_project().storage).backups
    return manifest


def refused(server: MySQLServer, adopt: Adopt, found: Path, *words: str) -> None:
    """It was refused in these words before any of it ran: nothing is stored, and no data has changed."""
    before, schemas = server.text(), server.schemas()
    answer = adopt(found)
    assert answer.code == 1, answer.stdout
    for word in words:
        assert word in answer.stderr
    assert server.stored() == []
    assert server.text() == before
    assert server.schemas() == schemas


@pytest.mark.parametrize(
    "options",
    [["--quick"], ["--routines", "--events", "--hex-blob", "--single-transaction"], ["--skip-extended-insert"],
     ["--complete-insert", "--skip-add-locks", "--no-autocommit"]],
    ids=["django-dbbackup", "usual", "row-by-row", "complete"],
)  # fmt: skip
def test_a_dump_of_mariadb_dump_becomes_a_backup(
    mysql_server: MySQLServer, old: Path, adopt: Adopt, options: list[str]
) -> None:
    """Its rows are counted, its views and triggers are made, and it brings the database back as it was."""
    mysql_server.script(
        "CREATE VIEW titles AS SELECT title FROM book;"
        "CREATE TRIGGER guard BEFORE DELETE ON author FOR EACH ROW SET @x = 1;"
    )
    before = mysql_server.text()
    found = dump(mysql_server, old / DBBACKUP, *options)
    packed = found.with_name(f"{DBBACKUP}.gz")
    packed.write_bytes(gzip.compress(found.read_bytes()))
    answer = adopt(packed)
    assert answer.code == 0, answer.stderr
    manifest = adopted()
    rows = {table.name: table.rows for table in manifest.tables}
    assert (rows["author"], rows["book"]) == (AUTHORS, BOOKS)
    assert (manifest.engine.vendor, manifest.engine.tool) == ("mariadb", "mariadb-dump")
    assert mysql_server.run("SELECT version()")[0][0].startswith(manifest.engine.server_version)
    assert mysql_server.leftovers() == []
    assert verify_backup() == manifest
    assert drill_backup().succeeded
    mysql_server.run("DELETE FROM book")
    restore_backup()
    assert mysql_server.text() == before


def test_a_dump_that_names_its_database_would_overwrite_the_live_one(
    mysql_server: MySQLServer, old: Path, adopt: Adopt
) -> None:
    """In the scratch, USE leads back into the live database, whose tables the next statements drop."""
    found = dump(mysql_server, old / DBBACKUP, "--databases")
    mysql_server.run("DELETE FROM book WHERE id > 10")
    refused(mysql_server, adopt, found, "--databases", "overwrite", "backup_create")


def test_without_the_two_lines_it_is_adopted(mysql_server: MySQLServer, old: Path, adopt: Adopt) -> None:
    """As the message advises."""
    found = dump(mysql_server, old / DBBACKUP, "--databases")
    lines = found.read_text().splitlines(keepends=True)
    found.write_text("".join(line for line in lines if not line.startswith(("CREATE DATABASE", "USE "))))
    answer = adopt(found)
    assert answer.code == 0, answer.stderr


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE IF EXISTS `{db}`.`book`;", "SET GLOBAL max_connections = 5;", "GRANT ALL ON *.* TO root@localhost;",
        "/*!40000 DROP DATABASE IF EXISTS `{db}`*/;", "use `{db}`;", "INSERT INTO `{db}`.`book` VALUES (999,'x',1);",
        "DELETE FROM book;", "CHANGE MASTER TO MASTER_LOG_POS=1;",
    ],
)  # fmt: skip
def test_a_statement_that_is_in_no_plain_dump_is_refused(
    mysql_server: MySQLServer, old: Path, adopt: Adopt, statement: str
) -> None:
    found = dump(mysql_server, old / DBBACKUP)
    head, mark, tail = found.read_text().rpartition("\n-- Dump completed")
    found.write_text(f"{head}\n{statement.format(db=mysql_server.databases['default'])}\n{mark}{tail}")
    refused(mysql_server, adopt, found, "not adopted")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[: len(text) // 2], ["end mark is missing"]),
        (lambda text: text.replace("-- Server version", "-- Version"), ["does not begin as mysqldump"]),
    ],
    ids=["cut", "headless"],
)
def test_a_dump_that_is_not_complete_is_refused(
    mysql_server: MySQLServer, old: Path, adopt: Adopt, change: Callable[[str], str], words: list[str]
) -> None:
    found = dump(mysql_server, old / DBBACKUP)
    found.write_text(change(found.read_text()))
    refused(mysql_server, adopt, found, *words)


def test_a_dump_without_comments_is_refused(mysql_server: MySQLServer, old: Path, adopt: Adopt) -> None:
    """Nothing in it shows whether it is complete."""
    refused(mysql_server, adopt, dump(mysql_server, old / DBBACKUP, "--skip-comments"), "no kind that is known here")


def test_a_dump_with_the_transactions_of_a_replica_is_refused(
    mysql_server: MySQLServer, old: Path, adopt: Adopt
) -> None:
    """As mysqldump writes it where GTIDs are on."""
    found = dump(mysql_server, old / DBBACKUP)
    head, mark, tail = found.read_text().partition("DROP TABLE")
    found.write_text(f"{head}SET @@GLOBAL.GTID_PURGED=/*!80000 '+'*/ 'a:1-5';\n{mark}{tail}")
    refused(mysql_server, adopt, found, "GTID_PURGED", "--set-gtid-purged=OFF")


def test_a_dump_of_the_other_vendor_is_refused(mysql_server: MySQLServer, old: Path, adopt: Adopt) -> None:
    found = dump(mysql_server, old / DBBACKUP)
    lines = found.read_text().splitlines(keepends=True)
    found.write_text("".join("-- Server version\t8.4.3\n" if "Server version" in line else line for line in lines))
    refused(mysql_server, adopt, found, "a backup of a MySQL database", "MariaDB")


def test_definitions_without_rows_are_refused(mysql_server: MySQLServer, old: Path, adopt: Adopt) -> None:
    """It loads well, and is the backup of nothing."""
    refused(mysql_server, adopt, dump(mysql_server, old / DBBACKUP, "--no-data"), "not one row")
