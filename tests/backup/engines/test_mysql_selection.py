"""Which tables a MySQL dump holds, and what may be added to the dump program's options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup import create_backup, restore_backup, verify_backup
from django_cfg.backup.engines.extra_options import check_extra_options
from django_cfg.backup.engines.mysql.dump import OPTION_RULES
from django_cfg.backup.errors import DumpFailed, UsageError
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.process.redaction import without_value
from tests.support.databases import AUTHORS, BOOKS
from tests.support.mariadb_server import mariadb_program
from tests.support.mysql_databases import MySQLServer

MORE = r"""
CREATE TABLE audit_log (i int); CREATE TABLE `audit_Ö'dd $1.*` (i int);
INSERT INTO audit_log VALUES (1); INSERT INTO `audit_Ö'dd $1.*` VALUES (1), (2);
CREATE TRIGGER on_audit BEFORE INSERT ON audit_log FOR EACH ROW SET NEW.i = NEW.i + 1;
CREATE VIEW audits AS SELECT i FROM audit_log; CREATE PROCEDURE work() SELECT 1;
"""


@pytest.fixture
def server(mysql_server: MySQLServer) -> MySQLServer:
    return mysql_server


def made(server: MySQLServer, **parameters: Any) -> Manifest:
    """A backup of ``default``, *parameters* being those of its BackupDatabaseConfig."""
    server.site.configure(databases=[{"alias": "default", **parameters}])
    return create_backup()


@pytest.fixture
def without_leaving_out(server: MySQLServer, tmp_path: Path) -> None:
    """Programs that, like MySQL's, cannot leave out rows and keep the table: MariaDB's, that option hidden."""
    for name in ("mariadb-dump", "mariadb"):
        script = tmp_path / name
        hidden = "| grep -v -e --ignore-table-data" if name == "mariadb-dump" else ""
        script.write_text(
            f'#!/bin/sh\ncase "$*" in *--help*) {mariadb_program(name)} "$@" {hidden};; '
            f'*--ignore-table-data*) exit 99;; *) exec {mariadb_program(name)} "$@";; esac\n'
        )
        script.chmod(0o755)
    server.site.always = {"tools_dir": str(tmp_path)}


def excluded_tables_keep_their_definition(server: MySQLServer) -> None:
    server.script(MORE)
    names = server.table_names()
    manifest = made(server, exclude_tables=["audit_*"])
    assert list(manifest.excluded) == ["audit_log", "audit_Ö'dd $1.*"]
    assert {table.name: table.rows for table in manifest.tables}["audit_log"] == 0
    assert verify_backup() == manifest
    restore_backup()
    assert server.table_names() == names
    assert (server.count("audit_log"), server.count("`audit_Ö'dd $1.*`"), server.count("book")) == (0, 0, BOOKS)
    assert server.run("INSERT INTO audit_log VALUES (1)", "SELECT i FROM audits") == [(2,)]


def test_excluded_tables_keep_their_definition(server: MySQLServer) -> None:
    """Their triggers too, and the views upon them."""
    excluded_tables_keep_their_definition(server)


@pytest.mark.usefixtures("without_leaving_out")
def test_they_do_with_programs_that_know_no_such_option(server: MySQLServer) -> None:
    """Two dumps, one after the other, make one archive."""
    excluded_tables_keep_their_definition(server)


@pytest.mark.usefixtures("without_leaving_out")
def test_included_and_excluded_with_programs_that_know_no_such_option(server: MySQLServer) -> None:
    server.script(MORE)
    manifest = made(server, include_tables=["audit*", "author"], exclude_tables=["audit_log"])
    assert {t.name: t.rows for t in manifest.tables} == {"audit_log": 0, "audit_Ö'dd $1.*": 2, "author": AUTHORS}
    restore_backup(to="empty")
    assert server.count("author", "empty") == AUTHORS


def test_a_refused_exclusion_names_the_constraint(server: MySQLServer) -> None:
    """Loading does not check foreign keys: the rows that stay would refer to nothing, and nobody would notice."""
    with pytest.raises(UsageError, match=r"rows of author.*rows of book.*book_ibfk_1.*Exclude book too"):
        made(server, exclude_tables=["author"])
    assert server.stored() == []


def test_included_tables_come_into_an_empty_database(server: MySQLServer) -> None:
    """With their triggers; what the target holds besides tables stays; what else the source holds does not come."""
    server.script(MORE)
    manifest = made(server, include_tables=["audit_log"])
    assert manifest.partial
    server.run("CREATE PROCEDURE stays() SELECT 1", "CREATE VIEW stays_too AS SELECT 1", alias="empty")
    assert restore_backup(to="empty").old_data is None
    assert server.run("INSERT INTO audit_log VALUES (5)", "SELECT MAX(i) FROM audit_log", alias="empty") == [(6,)]
    query = "SELECT routine_name FROM information_schema.routines WHERE routine_schema = DATABASE()"
    assert server.run(query, alias="empty") == [("stays",)]
    assert server.count("stays_too", "empty") == 1


def test_an_included_table_needs_those_it_refers_to(server: MySQLServer) -> None:
    """A foreign key into a table that is left out would refer to nothing: refused, the constraint named."""
    with pytest.raises(UsageError, match=r"names book and not author.*book_ibfk_1.*Include author too"):
        made(server, include_tables=["book"])
    assert made(server, include_tables=["book", "author"]).rows == AUTHORS + BOOKS


def test_allowed_options_reach_the_program(server: MySQLServer) -> None:
    """A row to each INSERT, named columns: counted and restored as well."""
    manifest = made(server, extra_options=["--skip-extended-insert", "-c", "--net-buffer-length=65536"])
    assert {t.name: (t.rows, t.exact) for t in manifest.tables} == {"author": (AUTHORS, True), "book": (BOOKS, True)}
    assert manifest == verify_backup()
    server.run("DELETE FROM book")
    restore_backup()
    assert server.count("book") == BOOKS


def test_the_program_itself_refuses_what_it_does_not_know(server: MySQLServer) -> None:
    with pytest.raises(DumpFailed, match=r"(?s)'default'.*no-such-option"):
        made(server, extra_options=["--no-such-option"])
    assert server.stored() == []


@pytest.mark.parametrize(
    "option",
    [
        "--result-file=x", "--result=x", "-rx", "-r", "x", "--tab=/tmp", "-T/tmp", "--xml", "-X", "--host=h", "-hh",
        "--port=1", "-P1", "--user=u", "-uu", "--password=x", "-px", "--socket=s", "-S/s", "--protocol=tcp",
        "--defaults-file=x", "--defaults-extra-file=x", "--no-defaults", "--print-defaults", "--ssl", "--skip-ssl",
        "--ssl-ca=x", "--all-databases", "--all-d", "-A", "--databases", "-B", "--tables", "--ignore-table=a.b",
        "--ignore-table-data=a.b", "--ignore_table=a.b", "--where=1", "-w1", "--no-data", "-d", "--no-create-info",
        "-t", "--skip-triggers", "--disable-triggers", "--skip-routines", "--loose-skip-events", "--lock-tables", "-l",
        "--lock-all-tables", "-x", "--skip-single-transaction", "--flush-logs", "-F", "--delete-master-logs",
        "--master-data=2", "--compact", "--skip-comments", "--skip-opt", "--compatible=ansi", "--force", "-f",
        "--default-character-set=latin1", "--default-char=latin1", "--skip-hex-blob", "--skip-quick", "--as-of=1",
        "--insert-ignore", "--replace", "--help", "-?", "--version", "-V", "--", "-", "", "other_database",
    ],
)  # fmt: skip
def test_refused_options_are_named(option: str) -> None:
    """Options that choose output, connection, tables or locks, however they are spelt.

    A value may be a password, and is not told.
    """
    with pytest.raises(UsageError, match="extra_options of the database 'default'") as refusal:
        check_extra_options([option], "default", OPTION_RULES)
    assert repr(without_value(option)) in str(refusal.value)
