"""What names a role that the server does not have is left out, and named; all else comes back."""

from __future__ import annotations

import pytest

from django_cfg.backup import create_backup, restore_backup
from tests.support.databases import BOOKS
from tests.support.postgresql_databases import PostgreSQLServer

ODD = 'Gone, "1"; it\'s TO x'
QUOTED = '"' + ODD.replace('"', '""') + '"'


@pytest.fixture
def server(own_postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
    """With policies and user mappings of roles that stay and of such that go after the backup."""
    server = own_postgresql_server
    for role in ("stays", "gone", QUOTED):
        server.server.sql(f"DROP ROLE IF EXISTS {role}", f"CREATE ROLE {role}")
    server.run(
        "ALTER TABLE author ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY for_all ON author USING (true)",
        "CREATE POLICY for_stays ON author FOR SELECT TO stays USING (name <> ' TO gone ')",
        "CREATE POLICY for_gone ON author AS RESTRICTIVE FOR SELECT TO stays, gone USING (true)",
        f'CREATE POLICY "odd TO gone" ON author FOR UPDATE TO {QUOTED} USING (true) WITH CHECK (true)',
        "COMMENT ON POLICY for_gone ON author IS 'of gone'",
        "COMMENT ON POLICY for_stays ON author IS 'of stays'",
        "CREATE FOREIGN DATA WRAPPER f", "CREATE SERVER there FOREIGN DATA WRAPPER f",
        *(f"CREATE USER MAPPING FOR {role} SERVER there OPTIONS (password 't0p-secret')"
          for role in ("stays", "gone", QUOTED, "PUBLIC")),
    )  # fmt: skip
    create_backup()
    for role in ("gone", QUOTED):
        server.run(f"DROP OWNED BY {role}")
        server.server.sql(f"DROP ROLE {role}")
    server.run("DELETE FROM book")
    return server


@pytest.mark.parametrize("in_place", [True, False])
def test_policies_and_user_mappings_of_missing_roles(server: PostgreSQLServer, in_place: bool) -> None:
    advice = restore_backup(in_place=in_place, discard_old=True).advice
    assert server.count("book") == BOOKS
    for name in ("the policy for_gone ON author", 'the policy "odd TO gone" ON author', "the user mapping of gone",
                 f"the user mapping of {ODD}"):  # fmt: skip
        assert name in advice
    assert "stays" not in advice
    assert "t0p-secret" not in advice
    assert server.run("SELECT polname FROM pg_policy ORDER BY 1") == [("for_all",), ("for_stays",)]
    assert server.run("SELECT usename FROM pg_user_mappings ORDER BY 1") == [("public",), ("stays",)]
    assert server.run("SELECT obj_description(oid) FROM pg_policy WHERE polname = 'for_stays'") == [("of stays",)]


def test_the_preview_says_so(server: PostgreSQLServer) -> None:
    answer = server.site.call("backup_restore", "latest")
    assert "policies and user mappings that name them are left out" in answer.stdout + answer.stderr
