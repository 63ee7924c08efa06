"""What backup_check finds out about a PostgreSQL database, its programs and its role, before a night depends on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.postgresql_databases import PostgreSQLServer
from tests.support.postgresql_server import postgresql_programs


@pytest.fixture
def server(postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
    return postgresql_server


WITHOUT_EMPTY = [{"alias": "empty", "enabled": False}]  # in the other one there is nothing to back up


def check(server: PostgreSQLServer, level: str) -> tuple[int, str]:
    """The exit code, and what was found at this level about the database."""
    answer = server.site.call("backup_check", "--json")
    found = [found["text"] for found in answer.json if (found["level"], found["subject"]) == (level, "default")]
    return answer.code, "\n".join(found)


def test_tools_that_are_too_old(server: PostgreSQLServer) -> None:
    oldest = postgresql_programs()[0]
    if oldest == server.server.programs:
        pytest.skip("the oldest tools are not older than the oldest server")
    server.site.configure(tools_dir=str(oldest), databases=WITHOUT_EMPTY)
    code, text = check(server, "FAILED")
    assert code == 1
    assert f"install postgresql-client-{server.server.major}" in text


def test_tools_that_are_newer(server: PostgreSQLServer) -> None:
    newest = postgresql_programs()[-1]
    if newest == server.server.programs:
        pytest.skip("the newest tools are those of the newest server")
    server.site.configure(tools_dir=str(newest), databases=WITHOUT_EMPTY)
    code, text = check(server, "WARNING")
    assert code == 4
    assert "is newer than the server" in text


def test_a_table_that_may_not_be_read(server: PostgreSQLServer) -> None:
    role = server.role("half")
    server.run(f"GRANT SELECT ON author TO {role}")
    server.use(USER=role, PASSWORD="pw")
    code, text = check(server, "FAILED")
    assert code == 1
    assert "may not read public.book" in text


def test_programs_that_only_a_restore_needs(server: PostgreSQLServer, tmp_path: Path) -> None:
    """A backup would be made all the same; who restores it one day has another mind."""
    (tmp_path / "pg_dump").symlink_to(server.server.programs / "pg_dump")
    server.site.configure(tools_dir=str(tmp_path), databases=WITHOUT_EMPTY)
    code, text = check(server, "WARNING")
    assert code == 4
    assert "pg_restore and psql" in text
    assert f"postgresql-client-{server.server.major}" in text
