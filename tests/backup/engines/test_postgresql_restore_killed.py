"""kill -9 of the process group at random moments of a restore: the database is all old or all new."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from django_cfg.backup import create_backup, restore_backup
from tests.support.databases import fail_unless_equal
from tests.support.killed_process import run_and_kill
from tests.support.postgresql_databases import PostgreSQLServer
from tests.support.processes import in_parallel, wait_until

FORMS: Mapping[str, dict[str, Any]] = {
    "staging": {"disconnect": True},
    "staging, discarding": {"disconnect": True, "discard_old": True},
    "in place": {"in_place": True, "discard_old": True},
    "tables": {"tables": ["book", "generation", "moved"], "discard_old": True},
}
# Every row of one table has the same generation as the other table.
GENERATIONS = "SELECT (SELECT n::text FROM generation), (SELECT string_agg(DISTINCT title, ',') FROM book)"
BUSY = "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


@pytest.mark.parametrize("form", ["staging", "in place"])
def test_we_are_killed_in_mid_restore(own_postgresql_server: PostgreSQLServer, form: str) -> None:
    kill_at_random_moments(own_postgresql_server, FORMS[form], 6)


@pytest.mark.long
@pytest.mark.parametrize("form", FORMS)
def test_we_are_killed_in_mid_restore_50_times(own_postgresql_server: PostgreSQLServer, form: str) -> None:
    kill_at_random_moments(own_postgresql_server, FORMS[form], 50)


@pytest.mark.parametrize("form", ["staging", "in place"])
def test_what_a_killed_restore_leaves_in_the_folder_of_temporary_files(
    own_postgresql_server: PostgreSQLServer, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next restore removes it."""
    server = own_postgresql_server
    server.run("CREATE TABLE many AS SELECT i, repeat('x', 90) AS t FROM generate_series(1, 200000) i")
    server.site.configure(compression="none")
    create_backup()
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    left: set[str] = set()
    while not left:
        restore_and_kill(server, FORMS[form], after=random.uniform(0.3, 1.5))
        left = {path.name for path in folder.iterdir() if (path / "entries").exists()}
    restore_backup(**FORMS[form])
    assert left & {path.name for path in folder.iterdir()} == set()
    assert [path for path in folder.iterdir() if path.name.startswith("django-cfg-backup-")] == []


def kill_at_random_moments(server: PostgreSQLServer, options: dict[str, Any], times: int) -> None:
    server.run(
        "INSERT INTO book SELECT i, '', 1 FROM generate_series(1000, 20000) i",
        "CREATE TABLE generation (n int)",
        "INSERT INTO generation VALUES (0)",
        "CREATE TABLE moved (at text)",
        "UPDATE book SET title = 0",
        "SELECT lo_from_bytea(7, 'the backup')",
    )
    states = [server.text()]
    create_backup()
    took = restore_and_kill(server, options, after=None)
    ends = []
    for number in range(1, times + 1):
        change(server, number)
        states[1:] = [server.text()]
        with watched(server):
            restore_and_kill(server, options, after=random.uniform(0, took))
        wait_until(lambda: not server.server.sql(BUSY))
        found = server.text()
        if found not in states:
            fail_unless_equal(states[1], found)
        ends.append(states.index(found))
    assert 1 in ends, "no kill came before the end"
    restore_backup(**options)
    fail_unless_equal(states[0], server.text())
    assert server.made("restoring") == []


def change(server: PostgreSQLServer, number: int) -> None:
    """Make the database differ from the backup: in its rows, in what it has, outside of its tables."""
    server.run(f"UPDATE book SET title = '{number}'", f"UPDATE generation SET n = {number}",
               "INSERT INTO moved VALUES ('later')")  # fmt: skip


def restore_and_kill(server: PostgreSQLServer, options: dict[str, Any], after: float | None) -> float:
    """Restore in a process of its own, killed *after* so many seconds; how many it ran."""
    return run_and_kill(server.site, lambda: restore_backup(**options), after)


class watched:  # noqa: N801  a block, not a thing
    """A block during which a site goes on reading: old rows, new rows, or nothing for a moment."""

    def __init__(self, server: PostgreSQLServer) -> None:
        self._server = server
        self._is_over = False
        self._block = in_parallel(self._watch)

    def __enter__(self) -> None:
        self._block.__enter__()

    def __exit__(self, *exception: Any) -> None:
        self._is_over = True
        self._block.__exit__(*exception)

    def _watch(self) -> None:
        while not self._is_over:
            with suppress(psycopg.OperationalError), self._server.connect() as connection:
                while not self._is_over:
                    expected, found = connection.execute(GENERATIONS).fetchone() or ("", "no row")
                    assert expected == found
                    time.sleep(0.002)
