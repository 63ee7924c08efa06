"""Some tables of a backup into a SQLite database as it is, and the old data that is not kept."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.errors import RestoreRefused
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.restore.kept_data import KeptData, list_kept_data
from django_cfg.backup.services.restore.restore import RestoreRequest, plan_restore
from tests.backup.engines.tables_contract import TablesContract
from tests.support.abandoned_staging import swept
from tests.support.databases import AUTHORS, BOOKS
from tests.support.django_project import Site
from tests.support.sqlite_databases import SQLiteServer


@pytest.fixture(params=["delete", "wal"])
def server(site: Site, request: pytest.FixtureRequest) -> SQLiteServer:
    return SQLiteServer(site, request.param)


class TestTables(TablesContract):
    key = "book.author_id to author"
    broken_key = "{count} rows would refer to missing rows: {child} to {parent}.*--tables"
    lock_message = "locked.*lsof"
    orphan = ("INSERT INTO book VALUES (998, 'always without', 998)",)
    numbered = "integer PRIMARY KEY AUTOINCREMENT"
    wider = (("varchar(3)", "'abc'", "text"), ("int", "-7", "bigint"), ("text", "'x'", "blob"))
    narrower = (
        ("int", "-1", "int CHECK (x > 0)", "CHECK constraint failed.*as it was"),
        ("text", "'007'", "int", "changed.*would not stay the same"),
        ("real", "0.5", "text", "changed.*would not stay the same"),
    )

    @pytest.fixture(params=["delete", "wal"])
    def server(self, site: Site, request: pytest.FixtureRequest) -> SQLiteServer:
        return SQLiteServer(site, request.param)

    @pytest.fixture
    def impatient(self, server: SQLiteServer, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[override]
        monkeypatch.setattr("django_cfg.backup.engines.sqlite.table_restore.LOCK_TIMEOUT", 0.2)
        monkeypatch.setattr("django_cfg.backup.services.runs.history_database._PAUSES", ())  # in the same database
        server.use(OPTIONS={"timeout": 0.1})

    @contextmanager
    def held(self, server: SQLiteServer) -> Iterator[None]:  # type: ignore[override]
        with closing(sqlite3.connect(server.site.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield


def schema(server: SQLiteServer) -> list[Any]:
    return server.run("SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2")


def kept(server: SQLiteServer) -> list[Path]:
    return sorted(server.site.root.glob("*.before-restore-*"))


def test_the_old_data_is_kept_and_connections_may_stay_open(server: SQLiteServer) -> None:
    create_backup()
    with closing(sqlite3.connect(server.site.database, timeout=30, isolation_level=None)) as other:
        other.execute("DELETE FROM book WHERE id > 10")
        other.execute("INSERT INTO author VALUES (999, 'since')")
        old_data = restore_backup(tables=["book"]).old_data
        assert other.execute("SELECT count(*) FROM book").fetchone() == (BOOKS,)
    assert server.count("author") == AUTHORS + 1
    assert kept(server) == [Path(old_data or "")]
    assert server.site.sql("SELECT count(*) FROM book", database=kept(server)[0]) == [(10,)]
    assert server.run("PRAGMA integrity_check") == [("ok",)]


def test_triggers_do_not_fire_and_stay(server: SQLiteServer) -> None:
    server.run(
        "CREATE TABLE log (entry text)",
        "CREATE TRIGGER gone AFTER DELETE ON book BEGIN INSERT INTO log VALUES (old.title); END",
        "CREATE TRIGGER came AFTER INSERT ON book BEGIN INSERT INTO log VALUES (new.title); END",
    )
    before = schema(server)
    create_backup()
    restore_backup(tables=["book"])
    assert server.count("log") == 0
    assert schema(server) == before


def test_tables_of_a_virtual_table_are_refused(server: SQLiteServer) -> None:
    server.run("CREATE VIRTUAL TABLE notes USING fts5 (body)")
    create_backup()
    with pytest.raises(RestoreRefused, match="no ordinary table of that name"):
        restore_backup(tables=["notes_content"])


def test_in_place_is_refused(server: SQLiteServer) -> None:
    create_backup()
    with pytest.raises(RestoreRefused, match="leave out --in-place"):
        restore_backup(in_place=True)


def test_killed_at_random_moments_the_tables_are_all_old_or_all_new(server: SQLiteServer) -> None:
    server.run("CREATE TABLE one (n integer, data text)", "CREATE TABLE two (n integer, data text)",
               "INSERT INTO one WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
               "SELECT 0, hex(randomblob(100)) FROM n", "INSERT INTO two SELECT * FROM one")  # fmt: skip
    create_backup()
    begun = time.monotonic()
    restore_backup(tables=["one", "two"], discard_old=True)
    took = time.monotonic() - begun
    for number in range(1, 9):
        server.run(f"UPDATE one SET n = {number}", f"UPDATE two SET n = {number}")
        server.site.close()
        pid = os.fork()
        if pid == 0:
            os.setsid()
            with suppress(BaseException):
                restore_backup(tables=["one", "two"], discard_old=True)
            os._exit(0)
        time.sleep(random.uniform(0, took))
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert server.run("SELECT DISTINCT n FROM one UNION ALL SELECT DISTINCT n FROM two") in (
            [(number,)] * 2,
            [(0,)] * 2,
        )
        assert (server.count("one"), server.count("two")) == (20000, 20000)
        assert server.run("PRAGMA integrity_check") == [("ok",)]


# The old data


@pytest.mark.parametrize("tables", [[], ["book"]])
def test_discard_old_leaves_nothing(server: SQLiteServer, tables: list[str]) -> None:
    create_backup()
    server.run("DELETE FROM book")
    assert restore_backup(tables=tables, discard_old=True).old_data is None
    assert kept(server) == []
    assert server.count("book") == BOOKS


def test_discard_old_leaves_nothing_of_a_file_that_was_no_database(server: SQLiteServer) -> None:
    create_backup()
    server.site.close()
    for suffix in ("-wal", "-shm"):
        Path(f"{server.site.database}{suffix}").unlink(missing_ok=True)
    server.site.database.write_bytes(b"?" * 5000)
    switched = restore_backup(discard_old=True)
    assert switched.old_data is None
    assert "replaced entirely" in switched.advice
    assert kept(server) == []
    assert server.count("book") == BOOKS


def test_kept_data_is_listed_with_its_size_and_age(server: SQLiteServer) -> None:
    create_backup()
    old_data = Path(restore_backup().old_data or "")
    for name in ("before-restore-", "before-restore-99999999_999999", "before-restore-20250115_020000-wal"):
        (server.site.root / f"db.sqlite3.{name}").touch()
    (found,) = list_kept_data(current_project())
    assert isinstance(found, KeptData)
    assert (found.database, found.name, found.size) == ("default", str(old_data), old_data.stat().st_size)
    assert timedelta(0) <= found.age < timedelta(minutes=5)


def test_abandoned_staging_is_removed_and_used_staging_is_not(server: SQLiteServer) -> None:
    create_backup()
    workshop = server.site.root / ".db.sqlite3.restoring"
    workshop.mkdir()
    (workshop / "scratch.sqlite3").write_bytes(b"half")
    assert swept() == [str(workshop)]
    assert not workshop.exists()
    plan = plan_restore(RestoreRequest())
    with plan.engine.restoration(plan.manifest):
        assert swept() == []
        assert workshop.exists()
    assert swept() == []
