"""What bad input and bad luck get: a clear error, nothing published, the target untouched."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.base import Database, DumpReport
from django_cfg.backup.engines.postgresql import PostgreSQLEngine, libpq, schema
from django_cfg.backup.engines.postgresql.dump import PostgreSQLDump
from django_cfg.backup.engines.postgresql.error_advice import explain_unavailable
from django_cfg.backup.errors import (
    BackupError,
    DatabaseUnavailable,
    DumpFailed,
    ToolNotFound,
    ToolTooOld,
    VerificationFailed,
)
from django_cfg.backup.pipeline.stream import Readable
from django_cfg.backup.process.child import Child
from tests.support.databases import BOOKS, fail_unless_equal
from tests.support.postgresql_databases import PostgreSQLServer
from tests.support.postgresql_server import postgresql_programs
from tests.support.processes import child_running, children, command_line, in_parallel, wait_until

MANY = "INSERT INTO book SELECT i, repeat('x', 90), 1 FROM generate_series(1000, 20000) i"


@pytest.fixture
def server(postgresql_server: PostgreSQLServer) -> Iterator[PostgreSQLServer]:
    before = children()
    yield postgresql_server
    assert children() <= before


@pytest.fixture
def fragile(own_postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
    """A server that the test may stop."""
    return own_postgresql_server


def fail_to_back_up(server: PostgreSQLServer, kind: type[BackupError], message: str) -> None:
    """A backup fails with *message*, names the database and leaves nothing in the storage."""
    with pytest.raises(kind, match=f"(?s){message}") as failure:
        create_backup()
    assert type(failure.value) is kind
    assert "'default'" in str(failure.value)
    assert server.stored() == []


# --- nothing to connect to


def test_wrong_password(server: PostgreSQLServer) -> None:
    server.use(PASSWORD="wr0ng-Secret")
    fail_to_back_up(server, DatabaseUnavailable, "password authentication failed.*Correct USER and PASSWORD")
    answer = server.site.call("backup_create")
    assert answer.code == 1
    assert "wr0ng-Secret" not in answer.stdout + answer.stderr


def test_server_down(fragile: PostgreSQLServer) -> None:
    fragile.server.stop()
    fail_to_back_up(fragile, DatabaseUnavailable, r"refused.*start it, or correct HOST and PORT")


def test_database_absent(server: PostgreSQLServer) -> None:
    server.use(NAME="absent")
    fail_to_back_up(server, DatabaseUnavailable, '"absent" does not exist.*Check NAME')


def test_a_server_that_never_answers(server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A black hole is told after seconds, not after the minutes that libpq would wait."""
    monkeypatch.setattr(libpq, "CONNECT_TIMEOUT", 2)
    settings = server.server.settings
    with socket.create_server(("127.0.0.1", 0)) as hole:
        name = server.databases["default"]
        server.site.use_databases(default=settings(name), hole=settings(name, PORT=hole.getsockname()[1]))
        with pytest.raises(
            DatabaseUnavailable, match=r"'hole'.*timeout.*Check that the server can be reached from here"
        ):
            create_backup("hole")
    assert server.stored() == []


def test_tls_refused(server: PostgreSQLServer) -> None:
    server.use(OPTIONS={"sslmode": "require"})
    fail_to_back_up(server, DatabaseUnavailable, "server does not support SSL.*Check sslmode")


def test_server_starting() -> None:
    """Too short a moment to meet; the server's words are those of its source."""
    told = explain_unavailable(
        Database("default", {"NAME": "x"}), Exception("FATAL:  the database system is starting up")
    )
    assert "try again in a moment" in str(told)


# --- the tools


def test_tools_dir_without_tools(server: PostgreSQLServer, tmp_path: Path) -> None:
    server.site.configure(tools_dir=str(tmp_path))
    fail_to_back_up(server, ToolNotFound, rf"tools_dir.*install postgresql-client-{server.server.major}")


def test_tools_older_than_the_server(server: PostgreSQLServer) -> None:
    oldest = postgresql_programs()[0]
    if oldest == server.server.programs:
        pytest.skip("the oldest tools are not older than the oldest server")
    server.site.configure(tools_dir=str(oldest))
    fail_to_back_up(server, ToolTooOld, rf"install postgresql-client-{server.server.major} or set .*tools_dir")


def test_newer_tools_serve_an_older_server(server: PostgreSQLServer) -> None:
    """Where only newer programs are installed, what they dump comes back, though they write settings it refuses."""
    server.site.configure(tools_dir=str(postgresql_programs()[-1]))
    before = server.text()
    create_backup()
    server.run("DELETE FROM book")
    restore_backup()
    fail_unless_equal(before, server.text())


def test_newer_tools_are_told_in_the_run_itself(server: PostgreSQLServer, caplog: pytest.LogCaptureFixture) -> None:
    """By the check as well as where a schedule's run is read: in its log."""
    newest = postgresql_programs()[-1]
    if newest == server.server.programs:
        pytest.skip("the newest tools are those of the newest server")
    server.site.configure(tools_dir=str(newest))
    told = f"is newer than the server.*Install postgresql-client-{server.server.major}"
    assert re.search(told, server.site.call("backup_create").stderr)
    assert [record for record in caplog.records if re.search(told, record.getMessage())]


# --- during a dump


def test_table_locked_by_a_migration(server: PostgreSQLServer) -> None:
    server.site.configure(lock_timeout=1)
    with server.locked("book"):
        fail_to_back_up(server, DumpFailed, "Another transaction, often a migration, holds a lock.*lock_timeout")


def test_table_locked_while_the_selection_is_looked_at(server: PostgreSQLServer) -> None:
    server.site.configure(lock_timeout=1, databases=[{"alias": "default", "exclude_tables": ["author"]}])
    with server.locked("book"):
        fail_to_back_up(server, DumpFailed, "Another transaction, often a migration, holds a lock")


def test_no_permission_on_one_table(server: PostgreSQLServer) -> None:
    role = server.role("half")
    server.run(f"GRANT SELECT ON author TO {role}")
    server.use(USER=role, PASSWORD="pw")
    fail_to_back_up(server, DatabaseUnavailable, rf"'{role}' may not read public\.book.*GRANT pg_read_all_data")


def test_no_permission_on_a_large_object(server: PostgreSQLServer) -> None:
    """pg_read_all_data does not cover large objects; a setting of the role does."""
    role = server.role("reader", "LOGIN PASSWORD 'pw' IN ROLE pg_read_all_data")
    server.run("SELECT lo_from_bytea(99, 'x')")
    server.use(USER=role, PASSWORD="pw")
    fail_to_back_up(server, DatabaseUnavailable, "may not read 1 large object,.*ALTER ROLE.*lo_compat_privileges")
    server.server.sql(f"ALTER ROLE {role} SET lo_compat_privileges = on")
    create_backup()


def test_rows_hidden_by_row_security(server: PostgreSQLServer) -> None:
    """Never a partial dump in silence."""
    role = server.role("reader", "LOGIN PASSWORD 'pw' IN ROLE pg_read_all_data")
    server.run("ALTER TABLE book ENABLE ROW LEVEL SECURITY", "CREATE POLICY few ON book USING (id < 10)")
    server.use(USER=role, PASSWORD="pw")
    fail_to_back_up(server, DatabaseUnavailable, r"public\.book, which row security may hide.*BYPASSRLS")
    server.server.sql(f"ALTER ROLE {role} BYPASSRLS")
    assert create_backup().rows == BOOKS + 50


def test_pg_dump_killed(server: PostgreSQLServer) -> None:
    def kill() -> None:
        pid = wait_until(lambda: child_running("pg_dump"))
        os.kill(pid, signal.SIGKILL)

    with server.locked("book"), in_parallel(kill):
        fail_to_back_up(server, DumpFailed, "pg_dump was killed by signal 9.*memory")


def test_a_counting_that_has_not_begun_yet_is_not_waited_for(
    server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pg_dump is gone when the counting comes to a table that somebody holds."""
    count, killed = schema.count_rows, threading.Event()

    def later(*arguments: Any) -> Any:
        assert killed.wait(20)
        time.sleep(2)  # the end of pg_dump has been noticed, and the counting asked to end
        return count(*arguments)

    def kill() -> None:
        pid = wait_until(lambda: child_running("pg_dump"))
        os.kill(pid, signal.SIGKILL)
        killed.set()

    monkeypatch.setattr(schema, "count_rows", later)
    server.site.configure(lock_timeout=600)
    begun = time.monotonic()
    with server.locked("book"), in_parallel(kill):
        fail_to_back_up(server, DumpFailed, "pg_dump was killed by signal 9")
    assert time.monotonic() - begun < 300, "it waited for the lock"


def test_the_counting_that_takes_the_dump_with_it_is_told() -> None:
    """pg_dump ends as soon as the snapshot is gone; why it is gone is known to the counting, a moment later."""
    cause = DumpFailed("The connection was ended by an administrator")

    def count() -> DumpReport:
        time.sleep(0.2)
        raise cause

    with Child(["sh", "-c", "echo invalid snapshot identifier >&2; exit 1"]) as child, ThreadPoolExecutor(1) as beside:
        dump = PostgreSQLDump(child, 0, beside.submit(count), (), "default")
        with pytest.raises(DumpFailed) as caught:
            dump.stream.read()
    assert caught.value is cause


def test_server_stopped_in_mid_dump(fragile: PostgreSQLServer) -> None:
    def stop() -> None:
        wait_until(lambda: child_running("pg_dump"))
        wait_until(lambda: fragile.run("SELECT count(*) FROM pg_locks WHERE NOT granted") == [(2,)])
        fragile.server.stop("immediate")

    with closing(fragile.connect()) as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE book")
        with in_parallel(stop):
            fail_to_back_up(fragile, DumpFailed, "The server (stopped|ended the connection)")


# --- secrets


def test_no_password_is_seen(server: PostgreSQLServer) -> None:
    """Neither in the command line of any child, nor in a message, of a backup and of a restore."""
    secret = "t0p s3cret'\"\\ ü$;"
    role = server.role("hidden", "SUPERUSER LOGIN PASSWORD '" + secret.replace("'", "''") + "'")
    server.use(USER=role, PASSWORD=secret)
    seen: dict[str, str] = {}

    def watch(program: str) -> None:
        wait_until(lambda: child_running(program))
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            for pid in children():
                line = command_line(pid)
                seen[Path(line.partition("\0")[0]).name] = line

    create_backup()
    server.site.configure(lock_timeout=1)
    in_place = partial(restore_backup, in_place=True, discard_old=True)
    for program, action in (("pg_dump", create_backup), ("psql", in_place), ("pg_restore", restore_backup)):
        watching = in_parallel(partial(watch, program))
        with server.locked("book"), watching, pytest.raises(BackupError) as failure:
            action()
        assert secret not in str(failure.value)
    assert {"pg_dump", "psql", "pg_restore"} <= set(seen)
    assert not [line for line in seen.values() if secret in line]


# --- archives


class Bytes(Readable):
    """Bytes as a stream."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def read(self, size: int = -1, /) -> bytes:
        count = len(self._data) if size < 0 else size
        block, self._data = bytes(self._data[:count]), self._data[count:]
        return block


def test_half_an_archive_is_no_archive(server: PostgreSQLServer) -> None:
    """Wherever it is cut it is refused, where ``pg_restore --list`` still accepts it."""
    server.run(MANY)
    server.site.configure(compression="none")
    manifest = create_backup()
    server.run("DELETE FROM book WHERE id > 10")
    before = server.text()
    engine = PostgreSQLEngine(Database("default", settings.DATABASES["default"], tools_dir=str(server.server.programs)))
    data = (server.site.backups / manifest.archive_key).read_bytes()
    tools = str(server.server.programs)
    PostgreSQLEngine.check_archive(Bytes(data), manifest, tools)
    accepted = 0
    for kept in (0, 4, len(data) // 20, len(data) // 3, len(data) // 2, len(data) * 9 // 10, len(data) - 1):
        listing = [server.server.programs / "pg_restore", "--list"]
        accepted += not subprocess.run(listing, input=data[:kept], capture_output=True, check=False).returncode
        with pytest.raises(VerificationFailed, match="is not a complete dump"):
            PostgreSQLEngine.check_archive(Bytes(data[:kept]), manifest, tools)
        with engine.restoration(manifest) as restoration, pytest.raises(VerificationFailed, match="is not complete"):
            restoration.load(Bytes(data[:kept]))
    fail_unless_equal(before, server.text())
    assert accepted >= 3


@pytest.mark.parametrize("compression", ["gzip", "bz2", "xz", "none"])
def test_the_hint_restores_as_printed(own_postgresql_server: PostgreSQLServer, compression: str) -> None:
    """With stock tools, in the folder of the archive, where the environment names the server."""
    server = own_postgresql_server
    server.run("SELECT lo_from_bytea(7, 'x')")
    server.site.configure(compression=compression, filename_template="it's {database} {timestamp}")
    manifest = create_backup()
    server.server.sql("DROP DATABASE IF EXISTS restored")
    subprocess.run(["sh", "-c", manifest.restore_hint], cwd=server.site.backups, env=server.environment(), check=True)
    assert server.server.sql("SELECT count(*) FROM book", database="restored") == [(BOOKS,)]
    server.server.sql("DROP DATABASE restored")
