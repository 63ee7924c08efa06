"""What a restore of SQLite that failed or was killed leaves: the old data if it was replaced, else nothing."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.sqlite import kept_data, switch, table_restore
from django_cfg.backup.engines.sqlite.connection import LockTimeout
from django_cfg.backup.errors import RestoreFailed
from tests.support.abandoned_staging import swept
from tests.support.databases import BOOKS
from tests.support.django_project import Site
from tests.support.sqlite_databases import SQLiteServer, kept, left_behind


@pytest.fixture(params=["delete", "wal"])
def server(site: Site, request: pytest.FixtureRequest) -> SQLiteServer:
    return SQLiteServer(site, request.param)


def filled(server: SQLiteServer) -> None:
    """A backup of books enough for many steps, of which the database has lost all but ten since."""
    server.run(
        "CREATE TABLE payload (data text)",
        "INSERT INTO payload WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 3000) "
        "SELECT hex(randomblob(400)) FROM n",
    )
    create_backup()
    server.run("DELETE FROM book WHERE id > 10")


@contextmanager
def at_step(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], object]) -> Iterator[None]:
    """Do it when so many steps of the copy into the live file are done; the old data is held since the first."""
    steps: list[int] = []

    def count(status: int, remaining: int, total: int) -> None:
        steps.append(remaining)
        if len(steps) == number:
            act()

    with monkeypatch.context() as patch:
        patch.setattr(switch, "raise_if_locked", count)
        yield


def die(*arguments: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_process_that_dies(server: SQLiteServer, act: Callable[[], object]) -> None:
    server.site.close()
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            act()
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL


def test_one_that_fails_late_leaves_no_copy_of_the_old_data(
    server: SQLiteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(server)

    def fail() -> None:
        raise LockTimeout("no more")

    with at_step(monkeypatch, 3, fail), pytest.raises(RestoreFailed, match="locked"):
        restore_backup()
    assert server.count("book") == 10
    assert kept(server) == []
    assert left_behind(server) == []


def test_a_database_found_corrupt_late_is_replaced(server: SQLiteServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """When its copy has been made already."""
    filled(server)

    def find() -> None:
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorname = "SQLITE_CORRUPT"
        raise error

    with at_step(monkeypatch, 3, find):
        switched = restore_backup()
    assert server.count("book") == BOOKS
    assert "replaced entirely" in switched.advice
    assert [str(path) for path in kept(server)] == [switched.old_data]
    assert server.site.sql("SELECT count(*) FROM book", database=Path(switched.old_data or "")) == [(10,)]
    assert [name for name in left_behind(server) if "before-restore" not in name] == []


def test_one_that_is_killed_before_its_switch_leaves_nothing_after_the_next(
    server: SQLiteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(server)
    with at_step(monkeypatch, 3, die):
        in_a_process_that_dies(server, restore_backup)
    assert kept(server) == [], "a restore that has not happened is reported as one that has"
    server.run("INSERT INTO author VALUES (999, 'since')")
    old_data = restore_backup().old_data
    assert [str(path) for path in kept(server)] == [old_data]
    assert left_behind(server) == []


def test_the_sweep_removes_what_a_killed_one_has_left(server: SQLiteServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """backup_prune does it, too."""
    filled(server)
    with at_step(monkeypatch, 3, die):
        in_a_process_that_dies(server, restore_backup)
    assert swept() == [str(server.site.root / ".db.sqlite3.restoring")]
    assert kept(server) == []
    assert left_behind(server) == []
    assert server.count("book") == 10


@pytest.mark.parametrize("options", [{}, {"tables": ["book"]}])
def test_one_that_is_killed_after_its_switch_has_not_lost_the_old_data(
    server: SQLiteServer, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    filled(server)
    with monkeypatch.context() as patch:
        patch.setattr(kept_data.OldData, "keep", die)
        in_a_process_that_dies(server, lambda: restore_backup(**options))
    assert server.count("book") == BOOKS
    swept()
    (old_data,) = kept(server)
    assert server.site.sql("SELECT count(*) FROM book", database=old_data) == [(10,)]
    assert left_behind(server) == []


def test_some_tables_killed_before_the_switch_leave_nothing_either(
    server: SQLiteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(server)
    with monkeypatch.context() as patch:
        patch.setattr(table_restore, "_change_schema_version", die)
        in_a_process_that_dies(server, lambda: restore_backup(tables=["book"]))
    assert server.count("book") == 10
    swept()
    assert kept(server) == []
    assert left_behind(server) == []


def test_old_data_that_cannot_be_let_out_does_not_make_a_success_a_failure(
    server: SQLiteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(server)

    def refuse(self: kept_data.OldData) -> Path:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(kept_data.OldData, "keep", refuse)
        switched = restore_backup()
    assert server.count("book") == BOOKS
    assert "Input/output error" in switched.advice
    assert server.site.sql("SELECT count(*) FROM book", database=Path(switched.old_data or "")) == [(10,)]
    restore_backup()
    assert len(kept(server)) == 2
