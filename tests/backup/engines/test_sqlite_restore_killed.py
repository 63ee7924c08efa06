"""A restore of SQLite that is killed at any moment: the database is all old or all new."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from django_cfg.backup import create_backup, restore_backup
from tests.support.django_project import Site
from tests.support.killed_process import run_and_kill
from tests.support.sqlite_databases import SQLiteServer, kept, left_behind

ROWS = 4000  # enough for a restore of some tenths of a second


@pytest.fixture(params=["delete", "wal"])
def server(site: Site, request: pytest.FixtureRequest) -> SQLiteServer:
    return SQLiteServer(site, request.param)


def test_killed_at_any_moment_the_database_is_all_old_or_all_new(server: SQLiteServer) -> None:
    """kill -9 at 15 moments spread over the time a restore takes."""
    old = _two_generations(server)
    took = run_and_kill(server.site, restore_backup, after=None)
    outcomes = []
    for moment in range(15):
        _put_back(server, old)
        run_and_kill(server.site, restore_backup, after=took * (moment + 0.5) / 15)
        outcomes.append(_generation(server))
    assert set(outcomes) <= {1, 2}
    assert 2 in outcomes, "no kill came early enough to matter"


@pytest.mark.long
def test_a_reader_sees_no_mixture_and_nothing_is_left_after_the_next(server: SQLiteServer) -> None:
    """50 moments; the next restore removes what the killed one has left, unless it is the old data."""
    old = _two_generations(server)
    took = run_and_kill(server.site, restore_backup, after=None)
    outcomes = []
    for moment in range(50):
        _put_back(server, old)
        with _reader(server) as seen:
            run_and_kill(server.site, restore_backup, after=took * (moment + 0.5) / 50)
        outcomes.append(_generation(server))
        assert seen <= {(1,), (2,)}, seen
        restore_backup()
        assert left_behind(server) == []
        assert len(kept(server)) == 1 + (outcomes[-1] == 1)
    assert 2 in outcomes, "no kill came early enough to matter"


@contextmanager
def _reader(server: SQLiteServer) -> Iterator[set[tuple[int, ...]]]:
    """What a connection of another thread that reads on and on has seen of the generations."""
    seen: set[tuple[int, ...]] = set()
    ended = threading.Event()

    def read() -> None:
        with closing(sqlite3.connect(server.site.database, timeout=60)) as connection:
            while not ended.wait(0.01):
                found = connection.execute("SELECT DISTINCT generation FROM payload").fetchall()
                seen.add(tuple(generation for (generation,) in found))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()
    assert seen


def _two_generations(server: SQLiteServer) -> Path:
    """A backup of the first, the second in the database; a copy of that."""
    fill = (
        f"INSERT INTO payload WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) "
        "SELECT i, {}, hex(randomblob(300)) FROM n"
    )
    server.run("CREATE TABLE payload (id integer PRIMARY KEY, generation integer, data text)", fill.format(1))
    server.run("CREATE INDEX payload_data ON payload (data)")
    create_backup()
    server.run("DELETE FROM payload", fill.format(2), "CREATE TABLE later (id integer)")
    old = server.site.root / "old.sqlite3"
    _vacuum_into(server.site.database, old)
    return old


def _vacuum_into(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source, isolation_level=None)) as connection:
        connection.execute("VACUUM INTO ?", (str(target),))


def _put_back(server: SQLiteServer, old: Path) -> None:
    with closing(sqlite3.connect(old)) as source, closing(sqlite3.connect(server.site.database)) as target:
        source.backup(target)
    for left in server.site.root.glob("*.before-restore-*"):
        left.unlink()


def _generation(server: SQLiteServer) -> int:
    """Which state the database is in; an assertion when it is a mixture."""
    assert server.run("PRAGMA integrity_check") == [("ok",)]
    (found,) = server.run("SELECT DISTINCT generation FROM payload")
    assert server.count("payload") == ROWS
    assert ("later" in server.table_names()) == (found[0] == 2)
    return int(found[0])
