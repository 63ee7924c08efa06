"""A restore that fails, in either form, leaves the database as it was, and no scratch beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from functools import partial

import pytest

from django_cfg.backup import create_backup, restore_backup, verify_backup
from django_cfg.backup.errors import BackupError, RestoreFailed, RestoreRefused, TablesDiffer, VerificationFailed
from django_cfg.backup.signals import restore_checked
from tests.support.databases import BOOKS, fail_unless_equal
from tests.support.postgresql_databases import PostgreSQLServer
from tests.support.processes import child_running, children, in_parallel, wait_until

MANY = "INSERT INTO book SELECT i, repeat('x', 90), 1 FROM generate_series(1000, 20000) i"
SLEEPS_IN_A_SCRATCH = """
CREATE FUNCTION wait(i int) RETURNS boolean LANGUAGE sql AS $$
    SELECT CASE WHEN current_database() LIKE '%restoring%' THEN pg_sleep(600) IS NOT NULL ELSE true END $$
"""
IN_PLACE = {"in_place": True, "discard_old": True}
Restore = partial[object]


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


@pytest.fixture(params=["beside", "in place"])
def restore(request: pytest.FixtureRequest) -> Restore:
    return partial(restore_backup, **(IN_PLACE if request.param == "in place" else {}))


def fail_to_restore(server: PostgreSQLServer, restore: Restore, kind: type[BackupError], message: str) -> None:
    """A restore fails with *message*, and the database is as it was."""
    before = server.text()
    with pytest.raises(kind, match=f"(?s){message}") as failure:
        restore()
    assert type(failure.value) is kind
    fail_unless_equal(before, server.text())


@pytest.fixture
def changed(server: PostgreSQLServer) -> PostgreSQLServer:
    """A backup was made, with a large object, and the database changed afterwards."""
    server.run("SELECT lo_from_bytea(7, 'before')")
    create_backup()
    server.run("DELETE FROM book WHERE id > 10", "SELECT lo_put(7, 0, 'after!')", "CREATE TABLE later (i int)")
    return server


def test_another_session_holds_a_lock(changed: PostgreSQLServer) -> None:
    """In place, its tables are in the way."""
    changed.site.configure(lock_timeout=1)
    told = r"(?s)'default'.*as it was.*lock timeout.*stop the site"
    with changed.locked("book", "ROW EXCLUSIVE"), pytest.raises(RestoreFailed, match=told):
        restore_backup(in_place=True, discard_old=True)
    assert changed.count("book") == 10


def test_a_wrong_count_undoes_everything(changed: PostgreSQLServer, restore: Restore) -> None:
    """Large objects too."""
    (path,) = changed.site.backups.glob("*.json")
    path.write_text(path.read_text().replace(f'"rows": {BOOKS}', f'"rows": {BOOKS + 1}'))
    kind = VerificationFailed if restore.keywords else TablesDiffer  # in place the server compares
    fail_to_restore(changed, restore, kind, "book has 200 rows instead of 201")


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_damaged_archive(server: PostgreSQLServer, compression: str, restore: Restore) -> None:
    """One bit at three quarters: loading is under way when it is met."""
    server.run(MANY)
    server.site.configure(compression=compression)
    manifest = create_backup()
    server.run("DELETE FROM book WHERE id > 10")
    path = server.site.backups / manifest.archive_key
    data = bytearray(path.read_bytes())
    data[len(data) * 3 // 4] ^= 4
    path.write_bytes(data)
    with pytest.raises(VerificationFailed):
        verify_backup()
    fail_to_restore(server, restore, VerificationFailed, "damaged")


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


def test_server_killed_in_mid_restore_beside(fragile: PostgreSQLServer) -> None:
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
    """After the server's five seconds the restore gives up; who it was is told, and nobody was ended."""
    with closing(changed.connect()) as other:
        other.execute("SET application_name = 'the site'")
        (pid,) = other.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        told = rf"'default'.*pid {pid}, user owner, the site, from 127.0.0.1.*Stop the site.*--disconnect"
        fail_to_restore(changed, restore_backup, RestoreFailed, told)
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
        fail_to_restore(server, restore_backup, RestoreFailed, "the prepared transaction half done")
    finally:
        with server.connect() as other:
            other.execute("ROLLBACK PREPARED 'half done'")


def test_what_the_server_refuses_while_loading_is_told(changed: PostgreSQLServer, restore: Restore) -> None:
    """As a constraint whose function finds its table by a search_path that a restore does not have."""
    changed.run(
        "CREATE FUNCTION known(i int) RETURNS boolean LANGUAGE sql AS 'SELECT i IN (SELECT id FROM author)'",
        "CREATE TABLE odd (i int CHECK (known(i)))",
        "INSERT INTO odd VALUES (1)",
    )
    create_backup()
    fail_to_restore(changed, restore, RestoreFailed, "'default'.*as it was.*author.*does not exist")


def test_a_second_restore_at_the_same_time_is_refused(
    changed: PostgreSQLServer, another_machine: Callable[[], AbstractContextManager[None]]
) -> None:
    """And it does not take the first one's scratch for a dead one's."""
    seen: list[str] = []

    def second(**facts: object) -> None:
        with (
            another_machine(),
            pytest.raises(RestoreRefused, match=r"Another restore of the database 'default' is running"),
        ):
            restore_backup()
        seen.extend(changed.made("restoring"))

    restore_checked.connect(second)
    try:
        restore_backup()
    finally:
        restore_checked.disconnect(second)
    assert len(seen) == 1
    assert changed.count("book") == BOOKS
