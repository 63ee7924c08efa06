"""What bad input and bad luck get: a clear error, nothing published, the target untouched."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from django.conf import settings

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.base import Database, DumpReport
from django_cfg.backup.engines.postgresql import PostgreSQLEngine, schema
from django_cfg.backup.engines.postgresql.dump import PostgreSQLDump
from django_cfg.backup.engines.postgresql.error_advice import explain_unavailable
from django_cfg.backup.errors import (
    DatabaseUnavailable,
    DumpFailed,
    ToolTooOld,
    VerificationFailed,
)
from django_cfg.backup.pipeline.stream import Readable
from django_cfg.backup.process.child import Child
from tests.backup.engines.failures_contract import BackupFailuresContract, fail_to_back_up
from tests.support.databases import BOOKS, DatabaseServer, fail_unless_equal
from tests.support.postgresql_databases import PostgreSQLServer
from tests.support.postgresql_server import postgresql_programs
from tests.support.processes import children


@pytest.fixture
def server(postgresql_server: PostgreSQLServer) -> Iterator[PostgreSQLServer]:
    before = children()
    yield postgresql_server
    assert children() <= before


class TestBackupFailures(BackupFailuresContract):
    wrong_password = "password authentication failed"
    absent_database = '"absent" does not exist'
    missing_program = "install postgresql-client-"
    stopped_server = "The server (stopped|ended the connection)"
    unanswered = "timeout"
    no_privilege = r"may not read public\.book.*GRANT pg_read_all_data"
    schema = schema
    programs = {
        "pg_dump": create_backup,
        "psql": partial(restore_backup, in_place=True, discard_old=True),
        "pg_restore": restore_backup,
    }

    @pytest.fixture
    def server(self, postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
        return postgresql_server

    @pytest.fixture
    def fragile(self, own_postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
        return own_postgresql_server

    def without_tls(self) -> Iterator[tuple[dict[str, Any], str]]:
        yield {"sslmode": "require"}, "server does not support SSL.*Check sslmode"

    def reader_of_author(self, server: DatabaseServer) -> dict[str, Any]:
        assert isinstance(server, PostgreSQLServer)
        role = server.role("half")
        server.run(f"GRANT SELECT ON author TO {role}")
        return {"USER": role, "PASSWORD": "pw"}


def test_server_starting() -> None:
    """Too short a moment to meet; the server's words are those of its source."""
    error = explain_unavailable(
        Database("default", {"NAME": "x"}), Exception("FATAL:  the database system is starting up")
    )
    assert "try again in a moment" in str(error)


# --- the tools


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


def test_newer_tools_are_reported_in_the_run_itself(server: PostgreSQLServer, caplog: pytest.LogCaptureFixture) -> None:
    """By the check as well as where a schedule's run is read: in its log."""
    newest = postgresql_programs()[-1]
    if newest == server.server.programs:
        pytest.skip("the newest tools are those of the newest server")
    server.site.configure(tools_dir=str(newest))
    warning = f"is newer than the server.*Install postgresql-client-{server.server.major}"
    assert re.search(warning, server.site.call("backup_create").stderr)
    assert [record for record in caplog.records if re.search(warning, record.getMessage())]


# --- during a dump


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


def test_the_counting_that_takes_the_dump_with_it_is_reported() -> None:
    """pg_dump ends as soon as the snapshot is gone; why it is gone is known to the counting, a moment later."""
    cause = DumpFailed("The connection was ended by an administrator")

    def count() -> DumpReport:
        time.sleep(0.2)
        raise cause

    with Child(["sh", "-c", "echo invalid snapshot identifier >&2; exit 1"]) as child, ThreadPoolExecutor(1) as threads:
        dump = PostgreSQLDump([(child, ())], 0, threads.submit(count), "default")
        with pytest.raises(DumpFailed) as caught:
            dump.stream.read()
    assert caught.value is cause


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
    server.run(server.many_books)
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


@pytest.mark.parametrize("compression", ["gzip", "zstd", "bz2", "xz", "none"])
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
