"""The SQLite engine: the contract in both journal modes, and what is special to SQLite."""

from __future__ import annotations

import gzip
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db.backends.signals import connection_created

from django_cfg.backup import create_backup, restore_backup, verify_backup
from django_cfg.backup.engines.base import Database, Selection
from django_cfg.backup.engines.sqlite import SQLiteEngine, connection
from django_cfg.backup.errors import (
    DatabaseUnavailable,
    DumpFailed,
    NotEnoughSpace,
    RestoreFailed,
    RestoreRefused,
    UnsupportedEngine,
    UsageError,
)
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.stream import drain
from django_cfg.backup.process.private_dir import open_lock, take_lock
from tests.backup.engines.engine_contract import EngineContract
from tests.support.databases import AUTHORS, BOOKS, Server
from tests.support.django_project import Site
from tests.support.sqlite_databases import SQLITE, SQLiteServer


@pytest.fixture(params=["delete", "wal"])
def journal_mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class TestSQLite(EngineContract):
    @pytest.fixture
    def server(self, site: Site, journal_mode: str) -> Server:
        return SQLiteServer(site, journal_mode)


@pytest.fixture
def server(site: Site, journal_mode: str) -> SQLiteServer:
    return SQLiteServer(site, journal_mode)


def raw_bytes(site: Site, manifest: Manifest) -> bytes:
    return gzip.decompress((site.backups / manifest.archive_key).read_bytes())


# What a dump keeps


def test_every_kind_of_table_view_and_trigger_survives(server: SQLiteServer) -> None:
    server.run(
        "CREATE VIRTUAL TABLE notes USING fts5 (body)",
        "INSERT INTO notes VALUES ('the quick brown fox')",
        "CREATE VIRTUAL TABLE places USING rtree (id, x0, x1)",
        "INSERT INTO places VALUES (1, 0.5, 1.5)",
        "CREATE TABLE price (code text PRIMARY KEY, net integer, gross integer AS (net * 2) STORED) WITHOUT ROWID",
        "INSERT INTO price (code, net) VALUES ('a', 21)",
        "CREATE TABLE log (entry text)",
        "CREATE TRIGGER book_log AFTER DELETE ON book BEGIN INSERT INTO log VALUES (old.title); END",
        "CREATE VIEW expensive AS SELECT code FROM price WHERE gross > 40",
        "CREATE UNIQUE INDEX book_title ON book (title) WHERE id > 10",
        "PRAGMA user_version = 77",
    )
    create_backup()
    for table in ("notes", "places", "price", "log"):
        server.run(f"DROP TABLE {table}")
    restore_backup()
    assert server.run("SELECT body FROM notes WHERE notes MATCH 'brown'") == [("the quick brown fox",)]
    assert server.run("SELECT id FROM places WHERE x0 < 1") == [(1,)]
    assert server.run("SELECT code FROM expensive") == [("a",)]
    assert server.run("PRAGMA user_version") == [(77,)]
    assert server.run("PRAGMA integrity_check") == [("ok",)]
    server.run("DELETE FROM book WHERE id = 1")
    assert server.run("SELECT entry FROM log") == [("Book 1",)]


def test_the_journal_mode_of_the_target_stays(server: SQLiteServer, journal_mode: str) -> None:
    create_backup()
    restore_backup()
    assert server.run("PRAGMA journal_mode") == [(journal_mode,)]


def test_constraints_may_use_djangos_own_functions(server: SQLiteServer) -> None:
    with closing(sqlite3.connect(server.site.database)) as connection, connection:
        connection.create_function("REGEXP", 2, lambda pattern, text: True)
        connection.execute("CREATE TABLE coded (code text CHECK (code REGEXP '^[a-z]+$'))")
        connection.execute("INSERT INTO coded VALUES ('abc')")
    create_backup()
    restore_backup()
    assert server.count("coded") == 1


@contextmanager
def on_every_connection(act: Any) -> Iterator[None]:
    def receiver(connection: Any, **_: Any) -> None:
        act(connection.connection)

    connection_created.connect(receiver)
    try:
        yield
    finally:
        connection_created.disconnect(receiver)


def test_collations_a_project_registers_are_known_to_the_check(server: SQLiteServer) -> None:
    def register(connection: sqlite3.Connection) -> None:
        connection.create_collation("backwards", lambda a, b: (a < b) - (a > b))

    with closing(sqlite3.connect(server.site.database)) as connection, connection:
        register(connection)
        connection.execute("CREATE TABLE sorted (name text COLLATE backwards UNIQUE)")
        connection.execute("INSERT INTO sorted VALUES ('a'), ('b')")
    with on_every_connection(register):
        create_backup()
        restore_backup()
    assert server.count("sorted") == 2


def test_a_project_that_switches_connections_to_wal_does_not_change_the_copy(server: SQLiteServer) -> None:
    server.site.configure(databases=[{"alias": "default", "exclude_tables": ["book"]}])
    with on_every_connection(lambda connection: connection.execute("PRAGMA journal_mode = WAL")):
        create_backup()
        verify_backup()
        restore_backup()
    assert server.count("author") == AUTHORS


def test_uri_names_are_understood(server: SQLiteServer) -> None:
    odd = server.site.root / "o d?d #1 %41.sqlite3"
    shutil.copy(server.site.database, odd)
    name = connection.build_uri(odd, mode="rwc", cache="private")
    server.site.use_databases(default={"ENGINE": SQLITE, "NAME": name})
    create_backup()
    odd.unlink()
    restore_backup()
    assert odd.exists()


# What a dump refuses


@pytest.mark.parametrize("name", [":memory:", "", "file::memory:", "file:shared?mode=memory&cache=shared"])
def test_a_database_in_memory_is_refused(site: Site, name: str) -> None:
    with pytest.raises(UnsupportedEngine, match="lives in memory"):
        SQLiteEngine(Database("default", {"ENGINE": SQLITE, "NAME": name})).is_empty()


def test_a_missing_file_is_refused_and_not_created(site: Site) -> None:
    site.database.unlink()
    with pytest.raises(DatabaseUnavailable, match="missing"):
        create_backup()
    assert not site.backups.exists()


def test_a_file_of_no_bytes_is_refused(site: Site) -> None:
    site.database.write_bytes(b"")
    with pytest.raises(DatabaseUnavailable, match="no table"):
        create_backup()


def test_a_file_that_is_no_database_is_refused(site: Site) -> None:
    site.database.write_bytes(b"not a database" * 1000)
    with pytest.raises(DatabaseUnavailable, match="not a SQLite database"):
        create_backup()
    assert not site.backups.exists()


def test_a_damaged_page_is_found_and_nothing_is_published(server: SQLiteServer) -> None:
    server.run("PRAGMA wal_checkpoint(TRUNCATE)")
    size = server.site.database.stat().st_size
    root = server.run("SELECT rootpage FROM sqlite_master WHERE name = 'book'")[0][0]
    with server.site.database.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 200)
    assert server.site.database.stat().st_size == size
    with pytest.raises((DumpFailed, DatabaseUnavailable), match=r"damaged|malformed"):
        create_backup()
    assert server.site.stored() == []


def test_space_for_the_copy_is_checked_first(server: SQLiteServer, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=1000))
    with pytest.raises(NotEnoughSpace, match=r"0\.2 MB needed, 1,000 bytes free.*TMPDIR"):
        create_backup()


def test_options_of_a_dump_tool_are_refused(server: SQLiteServer) -> None:
    server.site.configure(databases=[{"alias": "default", "extra_options": ["--fast"]}])
    with pytest.raises(UsageError, match="extra_options"):
        create_backup()


def test_a_lock_that_does_not_end_is_reported(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_cfg.backup.engines.sqlite.connection.LOCK_TIMEOUT", 0.2)
    site.use_databases(default={"ENGINE": SQLITE, "NAME": str(site.database), "OPTIONS": {"timeout": 0.1}})
    with closing(sqlite3.connect(site.database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseUnavailable, match="holds a lock"):
            create_backup()


# Excluded rows


def test_excluded_rows_are_nowhere_in_the_archive(server: SQLiteServer) -> None:
    server.run(
        "CREATE TABLE secret (word text)",
        "INSERT INTO secret WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 2000) "
        "SELECT 'canary-' || i FROM n",
    )
    server.run("DELETE FROM secret WHERE rowid % 2")  # some are in free space already
    assert b"canary-" in raw_bytes(server.site, create_backup())
    server.site.configure(databases=[{"alias": "default", "exclude_tables": ["secret"]}])
    assert b"canary-" not in raw_bytes(server.site, create_backup())


def test_emptying_a_table_does_not_fire_its_triggers(server: SQLiteServer) -> None:
    server.run(
        "CREATE TABLE log (entry text)",
        "CREATE TRIGGER book_log AFTER DELETE ON book BEGIN INSERT INTO log VALUES (old.title); END",
    )
    server.site.configure(databases=[{"alias": "default", "exclude_tables": ["book"]}])
    create_backup()
    restore_backup()
    assert server.count("log") == 0
    assert server.run("SELECT name FROM sqlite_master WHERE type = 'trigger'") == [("book_log",)]


def test_an_excluded_search_table_is_emptied_with_its_shadows(server: SQLiteServer) -> None:
    server.run("CREATE VIRTUAL TABLE notes USING fts5 (body)", "INSERT INTO notes VALUES ('the quick brown fox')")
    server.site.configure(databases=[{"alias": "default", "exclude_tables": ["notes"]}])
    create_backup()
    restore_backup()
    assert server.run("SELECT count(*) FROM notes WHERE notes MATCH 'brown'") == [(0,)]
    server.run("INSERT INTO notes VALUES ('still a table')")


def test_a_partial_backup_of_a_search_table_holds_its_shadows(server: SQLiteServer) -> None:
    server.run("CREATE VIRTUAL TABLE notes USING fts5 (body)", "INSERT INTO notes VALUES ('the quick brown fox')")
    server.site.configure(databases=[{"alias": "default", "include_tables": ["notes"]}])
    create_backup()
    restore_backup(to="empty")
    assert server.run("SELECT count(*) FROM notes WHERE notes MATCH 'brown'", alias="empty") == [(1,)]


# The live database during a dump


def test_a_backup_changes_nothing_in_the_live_file(server: SQLiteServer) -> None:
    server.site.use_databases(
        default={"ENGINE": SQLITE, "NAME": str(server.site.root / "history.sqlite3")},
        live={"ENGINE": SQLITE, "NAME": str(server.site.database)},
    )
    with closing(sqlite3.connect(server.site.database)) as keeps_the_log_open:
        keeps_the_log_open.execute("SELECT count(*) FROM book").fetchone()
        before = server.site.database.read_bytes()
        create_backup("live")
        assert server.site.database.read_bytes() == before


def test_the_journal_of_a_crash_is_rolled_back(site: Site) -> None:
    crash = """
        import os, signal, sqlite3, sys
        connection = sqlite3.connect(sys.argv[1], isolation_level=None)
        connection.execute("PRAGMA cache_size = 5")
        connection.execute("CREATE TABLE crashed (x)")
        connection.execute("INSERT INTO crashed WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n"
                           " WHERE i < 1000) SELECT randomblob(1000) FROM n")
        connection.execute("BEGIN")
        connection.execute("UPDATE crashed SET x = randomblob(1000)")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    live = site.root / "live.sqlite3"
    subprocess.run([sys.executable, "-c", textwrap.dedent(crash), live], check=False)
    assert Path(f"{live}-journal").stat().st_size > 0
    site.use_databases(
        default={"ENGINE": SQLITE, "NAME": str(site.database)}, live={"ENGINE": SQLITE, "NAME": str(live)}
    )
    manifest = create_backup("live")
    assert [(table.name, table.rows) for table in manifest.tables] == [("crashed", 1000)]
    verify_backup(manifest.name)


def test_the_lock_is_held_for_the_copy_alone(server: SQLiteServer) -> None:
    """A slow storage must not keep the site from writing."""
    engine = SQLiteEngine(Database("default", {"ENGINE": SQLITE, "NAME": str(server.site.database)}))
    with engine.dump(Selection()) as dump:
        assert dump.stream.read(100)
        server.run("INSERT INTO author VALUES (1000, 'while the stream waits')")
        drain(dump.stream)
        assert {table.name: table.rows for table in dump.report().tables}["author"] == AUTHORS


@pytest.mark.parametrize("journal_mode", ["delete"], indirect=True)
def test_a_copy_that_is_cut_short_is_reported(
    server: SQLiteServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As on a disk that fills after the space was checked."""
    (tmp_path / "dd").write_text(
        "#!/bin/sh\nof=${2#of=}; head -c 5000 ${1#if=} > $of; echo no space left >&2; exit 1\n"
    )
    (tmp_path / "dd").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(DumpFailed, match=r"ended after 5,000 of .* bytes: no space left.*TMPDIR"):
        create_backup()
    assert server.site.stored() == []
    server.run("INSERT INTO author VALUES (1000, 'the lock is gone')")


# The restore


def test_connections_that_stay_open_see_the_restored_data(server: SQLiteServer) -> None:
    create_backup()
    with closing(sqlite3.connect(server.site.database)) as other, other:
        other.execute("DELETE FROM book")
        other.commit()
        restore_backup()
        assert other.execute("SELECT count(*) FROM book").fetchone() == (BOOKS,)
        other.execute("INSERT INTO author VALUES (1000, 'after')")
    assert server.count("author") == AUTHORS + 1


def test_the_old_data_is_set_aside_complete(server: SQLiteServer) -> None:
    create_backup()
    with (
        closing(sqlite3.connect(server.site.database)) as other,
        other,
    ):  # in WAL: the newest data is in the log only
        other.execute("INSERT INTO author VALUES (999, 'since')")
        other.commit()
        old_data = restore_backup().old_data
    assert old_data
    assert old_data.startswith(f"{server.site.database}.before-restore-")
    assert server.site.sql("SELECT name FROM author WHERE id = 999", database=Path(old_data)) == [("since",)]
    assert server.count("author") == AUTHORS


def test_nothing_but_the_old_data_is_left_next_to_the_database(server: SQLiteServer) -> None:
    create_backup()
    old_data = Path(restore_backup().old_data or "")
    left = {path.name for path in server.site.root.iterdir()}
    assert left - {"db.sqlite3", "db.sqlite3-wal", "db.sqlite3-shm"} == {
        "backups",
        "empty.sqlite3",
        old_data.name,
    }


@pytest.mark.parametrize("page_size", [1024, 16384])
def test_another_page_size_is_restored(server: SQLiteServer, page_size: int) -> None:
    create_backup()
    _change_page_size(server, page_size)
    server.run("DELETE FROM book")
    restore_backup()
    assert server.count("book") == BOOKS
    assert server.run("PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize(("page_size", "live_page_size"), [(4096, 1024), (65536, 4096), (4096, 512), (512, 4096)])
def test_the_old_data_is_set_aside_complete_whatever_the_page_sizes(
    server: SQLiteServer, page_size: int, live_page_size: int
) -> None:
    """A first step too large would write into the live file before it is saved."""
    server.run(
        "CREATE TABLE bulk (data text)",
        "INSERT INTO bulk WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 4000) "
        "SELECT hex(randomblob(400)) FROM n",
    )
    _change_page_size(server, page_size)
    create_backup()
    _change_page_size(server, live_page_size)
    server.run("INSERT INTO author VALUES (999, 'since')")
    old_data = Path(restore_backup().old_data or "")
    assert server.site.sql("PRAGMA integrity_check", database=old_data) == [("ok",)]
    assert server.site.sql("SELECT name FROM author WHERE id = 999", database=old_data) == [("since",)]
    assert server.run("PRAGMA integrity_check") == [("ok",)]
    assert server.count("author") == AUTHORS


def _change_page_size(server: SQLiteServer, page_size: int) -> None:
    server.site.close()
    with closing(sqlite3.connect(server.site.database, isolation_level=None)) as connection:
        mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
        for pragma in ("journal_mode = DELETE", f"page_size = {page_size}"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("VACUUM")
        connection.execute(f"PRAGMA journal_mode = {mode}")


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_name_that_is_a_link_stays_one(server: SQLiteServer, is_lost: bool) -> None:
    create_backup()
    server.site.close()
    real = server.site.root / "data" / "real.sqlite3"
    real.parent.mkdir()
    server.site.database.rename(real)
    server.site.database.symlink_to(real)
    if is_lost:
        real.unlink()
    else:
        real.write_bytes(b"?" * 5000)
    restore_backup()
    assert server.site.database.is_symlink()
    assert server.count("book") == BOOKS


def test_a_copy_left_by_a_killed_backup_is_removed_by_the_next(
    server: SQLiteServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / "tmp"
    monkeypatch.setattr("tempfile.tempdir", str(place))
    dead, alive, foreign = (place / f"django-cfg-backup-{name}" for name in ("dead", "alive", "foreign"))
    for folder in (dead, alive, foreign):
        folder.mkdir(parents=True)
        (folder / "copy.sqlite3").write_bytes(b"data")
    (dead / "lock").touch()
    (alive / "lock").touch()
    with open_lock(alive) as lock:
        assert take_lock(lock, alive)
        create_backup()
        assert sorted(place.iterdir()) == sorted([alive, foreign])


@pytest.mark.parametrize("damage", ["header", "cut", "garbage", "absent", "no bytes"])
def test_a_damaged_database_is_brought_back(server: SQLiteServer, damage: str) -> None:
    create_backup()
    path = server.site.database
    server.run("PRAGMA wal_checkpoint(TRUNCATE)")
    data = path.read_bytes()
    broken = {
        "header": b"\0" * 100 + data[100:],
        "cut": data[: len(data) // 3],
        "garbage": b"?" * len(data),
        "absent": None,
        "no bytes": b"",
    }[damage]
    if broken is None:
        path.unlink()
    else:
        path.write_bytes(broken)
    path.chmod(0o640) if broken else None
    switched = restore_backup()
    assert server.count("book") == BOOKS
    assert server.run("PRAGMA integrity_check") == [("ok",)]
    if broken:
        assert Path(switched.old_data or "").read_bytes() == broken
        assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("suffix", ["-journal", "-wal"])
def test_a_journal_of_a_lost_database_is_not_applied_to_the_restored_one(server: SQLiteServer, suffix: str) -> None:
    create_backup()
    server.site.close()
    server.site.database.unlink()
    stale = Path(f"{server.site.database}{suffix}")
    stale.write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + b"\0" * 4088)
    restore_backup()
    assert server.count("book") == BOOKS
    assert len(list(server.site.root.glob(f"db.sqlite3.before-restore-*{suffix}"))) == 1


def test_a_writer_that_does_not_let_go_is_reported_and_nothing_changes(
    server: SQLiteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_cfg.backup.engines.sqlite.connection.LOCK_TIMEOUT", 0.2)
    monkeypatch.setattr("django_cfg.backup.services.runs.history_database._PAUSES", ())  # it is in the same database
    server.use(OPTIONS={"timeout": 0.1})
    create_backup()
    server.run("DELETE FROM book WHERE id > 10")
    with closing(sqlite3.connect(server.site.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RestoreFailed, match=r"locked.*lsof"):
            restore_backup()
    assert server.count("book") == 10


def test_space_for_the_restore_is_checked_first(server: SQLiteServer, monkeypatch: pytest.MonkeyPatch) -> None:
    create_backup()
    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=1000))
    with pytest.raises(NotEnoughSpace, match="Nothing was touched"):
        restore_backup()


def test_a_second_restore_waits_for_the_first(server: SQLiteServer) -> None:
    manifest = create_backup()
    engine = SQLiteEngine(Database("default", {"ENGINE": SQLITE, "NAME": str(server.site.database)}))
    with engine.restoration(manifest), pytest.raises(RestoreRefused, match="Another restore"):
        restore_backup()
    restore_backup()


def test_what_a_killed_restore_left_is_removed_by_the_next(server: SQLiteServer) -> None:
    create_backup()
    workshop = server.site.root / ".db.sqlite3.restoring"
    workshop.mkdir()
    (workshop / "scratch.sqlite3").write_bytes(b"half")
    restore_backup()
    assert not workshop.exists()
