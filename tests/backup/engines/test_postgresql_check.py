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
    assert "may not read public.book, " in text or "may not read public.book:" in text


READER = "LOGIN PASSWORD 'pw' IN ROLE pg_read_all_data"
UNREADABLE = {
    "a large object": (READER, ["SELECT lo_from_bytea(0, 'abc')"], "may not read 1 large object"),
    "a schema": (
        "LOGIN PASSWORD 'pw'",
        ["CREATE SCHEMA stock", "CREATE TABLE stock.thing (id int)",
         "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
         "GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}", "GRANT SELECT ON stock.thing TO {role}"],
        "may not read the schema stock: GRANT pg_read_all_data",
    ),
    "a sequence": (
        "LOGIN PASSWORD 'pw'",
        ["CREATE SEQUENCE numbers", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"],
        "the sequence public.numbers",
    ),
    "a partitioned table": (
        "LOGIN PASSWORD 'pw'",
        ["CREATE TABLE parts (id int) PARTITION BY LIST (id)", "CREATE TABLE part PARTITION OF parts DEFAULT",
         "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}", "REVOKE SELECT ON parts FROM {role}",
         "GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}"],
        "may not read public.parts: GRANT",
    ),
    "rows behind a policy": (READER, ["ALTER TABLE book ENABLE ROW LEVEL SECURITY"], "each row of public.book"),
    "rows behind a policy, from their owner": (
        READER,
        ["CREATE TABLE own (id int)", "ALTER TABLE own OWNER TO {role}", "ALTER TABLE own ENABLE ROW LEVEL SECURITY",
         "ALTER TABLE own FORCE ROW LEVEL SECURITY"],
        "each row of public.own",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_a_role_may_not_read(server: PostgreSQLServer, what: str) -> None:
    """The check fails where the backup does, of the same reason, and both name what is needed."""
    attributes, statements, reason = UNREADABLE[what]
    role = server.role("keeper", attributes)
    server.run(*(statement.format(role=role) for statement in statements))
    server.use(USER=role, PASSWORD="pw")
    code, text = check(server, "FAILED")
    assert code == 1
    assert reason in text
    answer = server.site.call("backup_create", "default")
    assert answer.code == 1
    assert reason in answer.stderr
    assert server.stored() == []


READABLE = {
    "what the role owns behind a policy": (
        ["CREATE TABLE own (id int)", "ALTER TABLE own OWNER TO {role}", "ALTER TABLE own ENABLE ROW LEVEL SECURITY"],
        {},
    ),
    "its own large object": (["SELECT lo_from_bytea(77, 'abc')", "ALTER LARGE OBJECT 77 OWNER TO {role}"], {}),
    "a large object that all may read": (
        ["SELECT lo_from_bytea(78, 'abc')", "GRANT SELECT ON LARGE OBJECT 78 TO PUBLIC"], {}
    ),
    "emptied rows behind a policy": (
        ["CREATE TABLE log (id int)", "ALTER TABLE log ENABLE ROW LEVEL SECURITY"], {"exclude_tables": ["log"]}
    ),
    "tables that are not included": (
        ["CREATE SCHEMA far", "REVOKE pg_read_all_data FROM {role}", "CREATE SEQUENCE far.numbers",
         "CREATE TABLE far.thing (id serial)", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
         "GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}", "SELECT lo_from_bytea(79, 'abc')"],
        {"include_tables": ["book", "author"]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", READABLE)
def test_what_a_role_may_read(server: PostgreSQLServer, what: str) -> None:
    """Nothing is refused that pg_dump takes."""
    statements, selection = READABLE[what]
    role = server.role("keeper", READER)
    server.run(*(statement.format(role=role) for statement in statements))
    server.use(USER=role, PASSWORD="pw")
    server.site.configure(databases=[*WITHOUT_EMPTY, {"alias": "default", **selection}])
    assert check(server, "FAILED")[1] == ""
    assert server.site.call("backup_create", "default").code == 0


def test_programs_that_only_a_restore_needs(server: PostgreSQLServer, tmp_path: Path) -> None:
    """A backup would be made all the same; who restores it one day has another mind."""
    (tmp_path / "pg_dump").symlink_to(server.server.programs / "pg_dump")
    server.site.configure(tools_dir=str(tmp_path), databases=WITHOUT_EMPTY)
    code, text = check(server, "WARNING")
    assert code == 4
    assert "pg_restore and psql" in text
    assert f"postgresql-client-{server.server.major}" in text


def test_more_tables_than_locks(own_postgresql_server: PostgreSQLServer) -> None:
    """The counting of rows locks indexes too; it has to leave room for pg_dump."""
    server = own_postgresql_server
    server.site.close()
    server.server.stop()
    server.server.start("max_connections=20", "max_locks_per_transaction=10", "autovacuum=off")  # 200 locks, some room
    for number in range(150):
        indexes = [f"CREATE INDEX ON many_{number} ({column})" for column in "abcdefgh"]
        columns = ", ".join(f"{column} int" for column in "abcdefgh")
        server.run(f"CREATE TABLE many_{number} ({columns})", *indexes)
    server.tool("pg_dump", server.databases["default"])  # it can
    server.site.configure(databases=WITHOUT_EMPTY)
    assert check(server, "WARNING")[1] == ""
    assert server.site.call("backup_create", "default").code == 0
    server.run(*(f"CREATE TABLE more_{number} (id int)" for number in range(100)))
    assert "max_locks_per_transaction" in check(server, "WARNING")[1]
