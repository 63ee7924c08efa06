"""Rows are loaded by several sessions, each from a reading of its own: the contracts hold, and one failure ends all."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.postgresql import load_phases
from django_cfg.backup.engines.postgresql.archive_script import Contents
from django_cfg.backup.engines.postgresql.load_phases import RowSource
from django_cfg.backup.errors import RestoreFailed, VerificationFailed
from django_cfg.backup.pipeline.archive import PlainReader
from django_cfg.backup.services.verification.drill import drill_backup
from tests.backup.engines.restore_contract import OfTables, RestoreContract
from tests.backup.engines.test_postgresql_restore_jobs import EVERYTHING
from tests.support.databases import fail_unless_equal
from tests.support.postgresql_databases import PostgreSQLServer
from tests.support.processes import children, in_parallel, threads, wait_until

# A value of each of two tables that only a staging database refuses, or keeps waiting.
STAGING = "current_database() LIKE '%__restoring_%'"
SLOW = f"""
CREATE FUNCTION slow(i int) RETURNS boolean LANGUAGE plpgsql AS
    $$ BEGIN IF {STAGING} THEN PERFORM pg_sleep(600); END IF; RETURN true; END $$;
CREATE TABLE slow_1 (i int CHECK (slow(i)));
CREATE TABLE slow_2 (i int CHECK (slow(i)));
INSERT INTO slow_1 SELECT generate_series(1, 1000);
INSERT INTO slow_2 SELECT generate_series(1, 1000)
"""
REFUSED = f"""
CREATE TABLE refused (i int CHECK (NOT {STAGING}));
INSERT INTO refused SELECT generate_series(1, 3)
"""


def at_once(server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch) -> PostgreSQLServer:
    monkeypatch.setattr(load_phases, "WORTH_A_SESSION", 0)
    server.site.always["restore_jobs"] = 3
    server.site.configure()
    return server


class TestRestore(RestoreContract):
    is_variant = True

    @pytest.fixture
    def server(self, postgresql_server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch) -> PostgreSQLServer:
        return at_once(postgresql_server, monkeypatch)


class TestRestoreOfTables(OfTables, TestRestore): ...


@pytest.fixture
def server(
    postgresql_server: PostgreSQLServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PostgreSQLServer]:
    """After the test nothing is left: no process, no thread, no file, no database."""
    before, folder = (children(), threads()), tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield at_once(postgresql_server, monkeypatch)
    assert children() <= before[0]
    assert threads() <= before[1]
    assert list(folder.iterdir()) == []
    assert postgresql_server.made("restoring") == []


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_everything_is_as_it_was(server: PostgreSQLServer, compression: str) -> None:
    server.run(EVERYTHING)
    server.site.configure(compression=compression)
    before = server.text()
    create_backup()
    server.run("DROP EVENT TRIGGER watching; DROP EVENT TRIGGER strict; DROP TABLE place CASCADE; DROP TABLE seen")
    restore_backup()
    fail_unless_equal(before, server.text())
    assert server.run("SELECT count(*) FROM seen") == [(0,)], "an event trigger saw the restore"
    assert drill_backup().succeeded


def test_a_row_that_is_refused_ends_those_that_wait(server: PostgreSQLServer) -> None:
    server.run(SLOW, REFUSED)
    before = server.text()
    create_backup()
    with pytest.raises(RestoreFailed, match="refused"):
        restore_backup()
    fail_unless_equal(before, server.text())
    wait_until(lambda: not server.sleeping_in_staging())


@pytest.mark.parametrize("whom", ["a program", "a session"])
def test_one_is_killed(server: PostgreSQLServer, whom: str) -> None:
    server.run(SLOW)
    before = server.text()
    create_backup()

    def kill() -> None:
        sessions = wait_until(lambda: len(server.sleeping_in_staging()) == 2 and server.sleeping_in_staging(), 60)
        if whom == "a session":
            server.server.sql(f"SELECT pg_terminate_backend({sessions[0]})")
        else:
            programs = [pid for pid in children() if b"pg_restore" in Path(f"/proc/{pid}/cmdline").read_bytes()]
            os.kill(min(programs), signal.SIGKILL)

    with in_parallel(kill), pytest.raises(RestoreFailed, match="it is as it was"):
        restore_backup()
    fail_unless_equal(before, server.text())


def test_an_interruption_ends_all(server: PostgreSQLServer) -> None:
    server.run(SLOW)
    before = server.text()
    create_backup()

    def interrupt() -> None:
        wait_until(lambda: len(server.sleeping_in_staging()) == 2, 60)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with in_parallel(interrupt), pytest.raises(KeyboardInterrupt):
        restore_backup()
    fail_unless_equal(before, server.text())


def test_each_reading_is_compared_with_what_was_checked(
    server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another archive of the same length comes in place of the first one after the first byte was read."""
    server.site.configure(compression="none")
    manifest = create_backup()
    before = server.text()
    path = server.site.backups / manifest.archive_key
    load_again, changed = RowSource.load_again, bytearray(path.read_bytes())
    changed[-1000] ^= 1

    def replace_first(self: RowSource, *arguments: object) -> None:
        another = path.with_name(f"another-{threading.get_ident()}")
        another.write_bytes(changed)
        another.replace(path)
        load_again(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(RowSource, "load_again", replace_first)
    with pytest.raises(VerificationFailed, match="changed while it was restored"):
        restore_backup()
    fail_unless_equal(before, server.text())


@pytest.mark.parametrize("is_trusted", [False, True])
def test_a_second_reading_ends_with_its_rows_if_its_bytes_were_checked(
    server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch, is_trusted: bool
) -> None:
    server.run(
        "CREATE TABLE a_small AS SELECT generate_series(1, 1000) AS i",
        "CREATE TABLE z_large AS SELECT repeat('x', 1000) AS text FROM generate_series(1, 30000)",
    )
    server.site.configure(compression="none", restore_jobs=2)
    manifest = create_backup()
    readings: list[PlainReader] = []
    load_again = RowSource.load_again

    def watch(self: RowSource, *arguments: object) -> None:
        opened, self._open_again = self._open_again, lambda: noting(opened)
        load_again(self, *arguments)  # type: ignore[arg-type]

    @contextmanager
    def noting(opened: Any) -> Iterator[PlainReader]:
        with opened() as plain:
            yield plain
            readings.append(plain)

    monkeypatch.setattr(RowSource, "load_again", watch)
    restore_backup(trust_storage=is_trusted)
    (reading,) = readings
    assert manifest.archive.size > 25_000_000
    if is_trusted:
        assert reading.stored.size == manifest.archive.size
    else:
        assert reading.stored.size < 10_000_000


def test_small_tables_are_not_worth_a_session(server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_phases, "WORTH_A_SESSION", 50_000)
    monkeypatch.setattr(RowSource, "load_again", None)
    create_backup()
    restore_backup(jobs=3)


def test_rows_are_divided_by_their_number() -> None:
    """A table's name may hold spaces and dots; each entry is in one group, in the order of the archive."""
    lines = [
        b"1; 0 1 TABLE DATA public author owner",
        b"2; 0 2 TABLE DATA public a long name owner",
        b"3; 0 3 TABLE DATA shop v1.2 owner",
        b"4; 0 4 SEQUENCE SET public author_id_seq owner",
        b"5; 0 5 TABLE DATA public unknown owner",
    ]
    sizes = {"public.author": 10, "public.a long name": 70, "shop.v1.2": 50, "public.a": 1}
    groups = Contents(b"\n".join(lines)).divide_rows(2, sizes)
    assert [(size, contents.lines) for size, contents in groups] == [
        (70, [lines[1]]),
        (60, [lines[0], lines[2], lines[4]]),
    ]
