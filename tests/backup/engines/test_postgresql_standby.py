"""A backup from a hot standby: it lacks what the standby lacks, and says so."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_cfg.backup import create_backup, restore_backup
from tests.support.databases import AUTHORS, BOOKS
from tests.support.postgresql_databases import PostgreSQLServer
from tests.support.postgresql_server import PostgreSQL
from tests.support.run_folder import RunFolder
from tests.support.server_process import as_server, give_to_server

UNLOGGED = (
    "CREATE UNLOGGED TABLE session (id int GENERATED ALWAYS AS IDENTITY, key text)",
    "INSERT INTO session (key) VALUES ('a'), ('b')",
)


class Standby(PostgreSQL):
    """It follows *primary* from its copy on."""

    def __init__(self, primary: PostgreSQL, folder: Path) -> None:
        self._primary = primary
        super().__init__(primary.programs, folder)

    def _make(self) -> None:
        self.folder.mkdir()
        give_to_server(self.folder)
        primary = f"host=127.0.0.1 port={self._primary.port} user={self.USER} password={self.PASSWORD}"
        as_server([self.programs / "pg_basebackup", f"--dbname={primary}", f"--pgdata={self.folder / 'data'}",
                   "--checkpoint=fast", "--write-recovery-conf", "--no-sync"])  # fmt: skip


@pytest.fixture
def server(own_postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
    return own_postgresql_server


@pytest.fixture
def standby(server: PostgreSQLServer, run: RunFolder) -> Iterator[Standby]:
    """A standby of the server that has what was there before the test began, and what follows."""
    standby = Standby(server.server, run.new("standby"))
    yield standby
    standby.stop("immediate")
    shutil.rmtree(standby.folder)


def read_from(server: PostgreSQLServer, standby: Standby, **parameters: object) -> None:
    """Let backups read the standby, which has caught up."""
    place = {"HOST": "127.0.0.1", "PORT": standby.port}
    server.site.configure(databases=[{"alias": "default", "connection": place, **parameters}])
    ((written,),) = server.server.sql("SELECT pg_current_wal_lsn()::text")
    deadline = time.monotonic() + 60
    while standby.sql(f"SELECT pg_last_wal_replay_lsn() < '{written}'") == [(True,)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_all_but_what_a_standby_lacks(server: PostgreSQLServer, standby: Standby) -> None:
    """The rows of unlogged tables are reported as left out, in the run, in the check and in the manifest."""
    server.run(*UNLOGGED)
    read_from(server, standby)
    answer = server.site.call("backup_create", "default")
    assert answer.code == 0, answer.stderr
    assert "is a standby" in answer.stderr + answer.stdout
    assert "public.session" in answer.stderr + answer.stdout
    levels = {
        finding["level"]: finding["text"]
        for finding in server.site.call("backup_check", "--json").json
        if finding["subject"] == "default"
    }
    assert "public.session" in levels["WARNING"]
    (manifest,) = server.site.call("backup_list", "--json").json
    assert manifest["excluded"] == ["public.session"]
    server.site.configure()
    assert server.site.call("backup_verify", "latest", "--drill").code == 0
    restore_backup()
    assert (server.count("session"), server.count("book"), server.count("author")) == (0, BOOKS, AUTHORS)


def test_nothing_is_reported_where_nothing_is_lacking(server: PostgreSQLServer, standby: Standby) -> None:
    """No unlogged table, or one whose rows the settings leave out: no warning."""
    read_from(server, standby)
    assert create_backup().excluded == ()
    server.run(*UNLOGGED)
    read_from(server, standby, exclude_tables=["session"])
    answer = server.site.call("backup_create", "default")
    assert answer.code == 0
    assert "standby" not in answer.stderr + answer.stdout


def test_a_primary_gives_all(server: PostgreSQLServer) -> None:
    server.run(*UNLOGGED)
    assert create_backup().excluded == ()
    restore_backup()
    assert server.count("session") == 2
