"""Which tables a MySQL dump holds, and what may be added to the dump program's options."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from django_cfg.backup import restore_backup
from django_cfg.backup.engines.mysql.dump import OPTION_RULES
from tests.backup.engines.selection_contract import ExtraOptionsContract, SelectionContract, made
from tests.support.mariadb_server import mariadb_program
from tests.support.mysql_databases import MySQLServer


@pytest.fixture
def server(mysql_server: MySQLServer) -> MySQLServer:
    return mysql_server


class TestSelection(SelectionContract):
    constraint = "book_ibfk_1"
    trigger = ("CREATE TRIGGER on_audit BEFORE INSERT ON audit_log FOR EACH ROW SET NEW.i = NEW.i + 1",)

    @pytest.fixture
    def server(self, mysql_server: MySQLServer) -> MySQLServer:
        return mysql_server


@pytest.mark.usefixtures("without_row_exclusion")
class TestSelectionInTwoDumps(TestSelection):
    """With programs that cannot leave out rows: two dumps, one after the other, make one archive."""


@pytest.fixture
def without_row_exclusion(server: MySQLServer, tmp_path: Path) -> None:
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


class TestExtraOptions(ExtraOptionsContract):
    rules = OPTION_RULES
    given = ("--skip-extended-insert", "-c", "--net-buffer-length=65536")
    refused = (
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
    )  # fmt: skip
    # The form of what is written, the log of the server, and tables of engines whose rows are elsewhere.
    judged = {
        "--add-locks", "--allow-keywords", "--character-sets-dir", "--complete-insert", "--compress",
        "--copy-s3-tables", "--debug", "--debug-check", "--debug-info", "--disable-keys", "--dump-date",
        "--extended-insert",
        "--galera-info", "--gtid", "--log-queries", "--max-allowed-packet", "--max-statement-time",
        "--net-buffer-length", "--no-autocommit", "--no-tablespaces", "--order-by-primary", "--order-by-size",
        "--skip-add-locks", "--skip-disable-keys", "--skip-extended-insert", "--skip-lock-tables",
        "--skip-log-queries", "--skip-no-data-med", "--variable-name", "--verbose",
    }  # fmt: skip

    @pytest.fixture
    def server(self, mysql_server: MySQLServer) -> MySQLServer:
        return mysql_server

    def print_help(self) -> str:
        program = mariadb_program("mariadb-dump")
        return subprocess.run([program, "--no-defaults", "--help"], capture_output=True, text=True, check=True).stdout


def test_included_tables_bring_no_routine(server: MySQLServer) -> None:
    """Those of the target stay."""
    server.run("CREATE PROCEDURE work() SELECT 1")
    made(server, include_tables=["author"])
    server.run("CREATE PROCEDURE stays() SELECT 1", alias="empty")
    restore_backup(to="empty")
    query = "SELECT routine_name FROM information_schema.routines WHERE routine_schema = DATABASE()"
    assert server.run(query, alias="empty") == [("stays",)]
