"""A restore that fails, in either form, leaves the database as it was, and no scratch next to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup import create_backup, restore_backup, verify_backup
from django_cfg.backup.errors import BackupError, RestoreFailed, VerificationFailed
from tests.backup.engines.failures_contract import RestoreFailuresContract
from tests.support.databases import DatabaseServer, fail_unless_equal
from tests.support.postgresql_databases import PostgreSQLServer
from tests.support.processes import child_running, children, in_parallel, wait_until

SLEEPS_IN_A_SCRATCH = """
CREATE FUNCTION wait(i int) RETURNS boolean LANGUAGE sql AS $$
    SELECT CASE WHEN current_database() LIKE '%restoring%' THEN pg_sleep(600) IS NOT NULL ELSE true END $$
"""


@pytest.fixture
def server(postgresql_server: PostgreSQLServer) -> Iterator[PostgreSQLServer]:
    before = children()
    yield postgresql_server
    assert children() <= before
    assert postgresql_server.made("restoring") == []


@pytest.fixture
def fragile(own_postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
    """A server that the test may stop."""
    return own_postgresql_server


def fail_to_restore(server: PostgreSQLServer, message: str) -> None:
    """A restore fails with *message*, and the database is as it was."""
    before = server.text()
    with pytest.raises(RestoreFailed, match=message):
        restore_backup()
    fail_unless_equal(before, server.text())


class TestRestoreFailures(RestoreFailuresContract):
    prepared = ("SELECT lo_from_bytea(7, 'before')",)
    changes = ("SELECT lo_put(7, 0, 'after!')",)
    program = "pg_restore"
    memory = "memory"
    vendor = "postgresql"
    refused = "author.*does not exist"
    lock_message = "user owner, .*from 127.0.0.1.*Stop the site.*--disconnect"

    @pytest.fixture
    def server(self, postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
        return postgresql_server

    def make_unloadable(self, server: DatabaseServer) -> None:
        """A constraint whose function finds its table by a search_path that a restore does not have."""
        server.run(
            "CREATE FUNCTION known(i int) RETURNS boolean LANGUAGE sql AS 'SELECT i IN (SELECT id FROM author)'",
            "CREATE TABLE odd (i int CHECK (known(i)))",
            "INSERT INTO odd VALUES (1)",
        )
        create_backup()

    def held(self, server: DatabaseServer) -> AbstractContextManager[Any]:
        return server.connected()


class TestRestoreInPlaceFailures(TestRestoreFailures):
    options = {"in_place": True, "discard_old": True}
    program = "psql"
    differs = VerificationFailed  # the server compares
    lock_message = "as it was.*lock timeout.*stop the site"
    another_restore = "as it was.*lock timeout"

    def held(self, server: DatabaseServer) -> AbstractContextManager[Any]:
        assert isinstance(server, PostgreSQLServer)
        return server.locked("book", "ROW EXCLUSIVE")


@pytest.fixture
def changed(server: PostgreSQLServer) -> PostgreSQLServer:
    """A backup was made, with a large object, and the database changed afterwards."""
    server.run("SELECT lo_from_bytea(7, 'before')")
    create_backup()
    server.run("DELETE FROM book WHERE id > 10", "SELECT lo_put(7, 0, 'after!')", "CREATE TABLE later (i int)")
    return server


def test_server_killed_in_mid_restore_in_place(fragile: PostgreSQLServer) -> None:
    create_backup()
    fragile.run("DELETE FROM book WHERE id > 10")
    before = fragile.text()

    def stop() -> None:
        wait_until(lambda: fragile.run("SELECT count(*) FROM pg_locks WHERE NOT granted") == [(1,)])
        fragile.server.stop("immediate")

    with closing(fragile.connect()) as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE book")
        with in_parallel(stop), pytest.raises(RestoreFailed, match=r"(?s)'default'.*as it was.*The server"):
            restore_backup(in_place=True, discard_old=True)
    fragile.server.start()
    fail_unless_equal(before, fragile.text())


def test_server_killed_in_mid_restore_into_a_staging_database(fragile: PostgreSQLServer) -> None:
    """The scratch it leaves is removed by the next restore."""
    fragile.run(
        "CREATE TABLE slow (i int)",
        "INSERT INTO slow VALUES (1)",
        SLEEPS_IN_A_SCRATCH,
        "ALTER TABLE slow ADD CHECK (wait(i))",
    )
    create_backup()
    fragile.run("DELETE FROM book WHERE id > 10")
    before = fragile.text()

    def stop() -> None:
        wait_until(lambda: child_running("pg_restore"))
        wait_until(lambda: fragile.run("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))
        fragile.server.stop("immediate")

    with in_parallel(stop), pytest.raises(RestoreFailed, match=r"(?s)'default'.*as it was.*The server"):
        restore_backup()
    fragile.server.start()
    fail_unless_equal(before, fragile.text())
    assert len(fragile.made("restoring")) == 1
    fragile.run("ALTER TABLE slow DROP CONSTRAINT slow_i_check")
    restore_backup(create_backup().name)
    assert fragile.made("restoring") == []


def test_a_connection_in_the_way_is_named(changed: PostgreSQLServer) -> None:
    """After the server's five seconds the restore gives up; the session is named, and none was ended."""
    with closing(changed.connect()) as other:
        other.execute("SET application_name = 'the site'")
        (pid,) = other.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        message = rf"'default'.*pid {pid}, user owner, the site, from 127.0.0.1.*Stop the site.*--disconnect"
        fail_to_restore(changed, message)
        other.execute("SELECT 1")
    assert changed.count("book") == 10


def test_a_prepared_transaction_in_the_way_is_named(own_postgresql_server: PostgreSQLServer) -> None:
    server = own_postgresql_server
    server.server.stop()
    server.server.start("max_prepared_transactions=2")
    create_backup()
    with server.connect() as other:
        other.execute("BEGIN")
        other.execute("DELETE FROM book")
        other.execute("PREPARE TRANSACTION 'half done'")
    try:
        fail_to_restore(server, "the prepared transaction half done")
    finally:
        with server.connect() as other:
            other.execute("ROLLBACK PREPARED 'half done'")


def test_a_check_whose_program_is_killed_says_nothing_of_the_archive(server: PostgreSQLServer, tmp_path: Path) -> None:
    """As a kernel does that runs out of memory."""
    create_backup()
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "pg_dump").symlink_to(server.server.programs / "pg_dump")
    script = f'#!/bin/sh\ncase "$*" in *--version*) exec {server.server.programs}/pg_restore "$@";; esac\nkill -9 $$\n'
    (programs / "pg_restore").write_text(script)
    (programs / "pg_restore").chmod(0o755)
    server.site.configure(tools_dir=str(programs))
    with pytest.raises(BackupError, match=r"could not be checked: .*killed by signal 9.*memory") as failure:
        verify_backup()
    assert not isinstance(failure.value, VerificationFailed)
    with pytest.raises(RestoreFailed, match=r"could not be read: .*signal 9.*not touched.*memory"):
        restore_backup()
