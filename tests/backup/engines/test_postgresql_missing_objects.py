"""What the server or the role does not have: another role's grants, a role, a tablespace, an access method."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.base import RestoreOptions
from django_cfg.backup.services.restore.restore import RestoreRequest, plan_restore
from django_cfg.backup.services.verification.drill import drill_backup
from tests.support.database_servers import on_every_postgresql
from tests.support.databases import BOOKS
from tests.support.postgresql_databases import PostgreSQLServer

IN_PLACE = {"in_place": True, "discard_old": True}
Restore = Callable[..., Any]


@pytest.fixture(params=["next to it", "in place"])
def restore(request: pytest.FixtureRequest) -> Restore:
    return partial(restore_backup, **(IN_PLACE if request.param == "in place" else {}))


def preview() -> str:
    findings = plan_restore(RestoreRequest(options=RestoreOptions(discard_old=True))).preflight.findings
    return "\n".join(finding.text for finding in findings)


class Roles:
    """An owner that is no superuser, who restores; and two roles of others."""

    def __init__(self, server: PostgreSQLServer) -> None:
        self.server = server
        self.owner = server.role("shopowner", "LOGIN PASSWORD 'pw' CREATEDB")
        self.lead, self.intern = server.role('"The lead"'), server.role("intern")
        name = server.databases["default"]
        server.server.sql(f"ALTER DATABASE {name} OWNER TO {self.owner}")
        server.run(
            f"ALTER TABLE book OWNER TO {self.owner}",
            f"ALTER TABLE author OWNER TO {self.owner}",
            f"SET ROLE {self.owner}",
            "CREATE TABLE report (id int PRIMARY KEY, t text)",
            "INSERT INTO report VALUES (1, 'a')",
            f"GRANT SELECT ON book TO {self.intern}",
            "COMMENT ON TABLE report IS 'of the report'",
        )
        server.use(USER=self.owner, PASSWORD="pw")
        server.site.configure()

    def may_read(self, role: str, table: str) -> bool:
        bare = role.strip('"')
        found: bool = self.server.run(f"SELECT has_table_privilege('{bare}', '{table}', 'SELECT')")[0][0]
        return found


@pytest.fixture
def roles(postgresql_server: PostgreSQLServer) -> Iterator[Roles]:
    yield Roles(postgresql_server)
    postgresql_server.site.close()


@on_every_postgresql
def test_grants_that_another_role_has_made(roles: Roles, restore: Restore) -> None:
    """They are left out and named; all other grants are there."""
    server = roles.server
    server.run(
        f"SET ROLE {roles.owner}",
        f"GRANT SELECT ON report TO {roles.lead} WITH GRANT OPTION",
        f"SET ROLE {roles.lead}",
        f"GRANT SELECT ON report TO {roles.intern}",
    )
    create_backup()
    server.run("DELETE FROM report")
    advice = restore().advice
    assert "may not grant what other roles had granted. Left out: ACL public TABLE report." in advice
    assert server.count("report") == 1
    assert not roles.may_read(roles.intern, "report")
    assert roles.may_read(roles.intern, "book")


def test_a_drill_does_without_them(roles: Roles) -> None:
    roles.server.run(
        f"SET ROLE {roles.owner}",
        f"GRANT SELECT ON report TO {roles.lead} WITH GRANT OPTION",
        f"SET ROLE {roles.lead}",
        f"GRANT SELECT ON report TO {roles.intern}",
    )
    create_backup()
    assert drill_backup().succeeded


@on_every_postgresql
def test_default_privileges_of_another_role(roles: Roles, restore: Restore) -> None:
    """As a DBA makes them: in place they stay, and those of the role itself are as in the backup."""
    server = roles.server
    server.run(
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {roles.lead}",
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {roles.owner} IN SCHEMA public GRANT SELECT ON TABLES TO {roles.intern}",
    )
    create_backup()
    server.run(
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {roles.owner} IN SCHEMA public REVOKE ALL ON TABLES FROM {roles.intern}"
    )
    report = restore()
    assert "Left out: DEFAULT ACL public DEFAULT PRIVILEGES FOR TABLES" in report.advice
    server.run(f"SET ROLE {roles.owner}", "CREATE TABLE later (i int)")
    assert roles.may_read(roles.intern, "later")
    assert server.count("book") == BOOKS


@pytest.fixture
def placed(own_postgresql_server: PostgreSQLServer) -> Iterator[PostgreSQLServer]:
    """A backup of a table and an index in a tablespace that is gone."""
    server = own_postgresql_server
    with server.server.connect() as connection:
        connection.execute("SET allow_in_place_tablespaces = on")
        connection.execute("CREATE TABLESPACE fastdisk LOCATION ''")
    server.run(
        "CREATE TABLE big (id int PRIMARY KEY USING INDEX TABLESPACE fastdisk) TABLESPACE fastdisk",
        "INSERT INTO big VALUES (1)",
    )
    assert create_backup().engine.tablespaces == ("fastdisk",)
    server.run("DROP TABLE big")
    yield server
    server.site.close()
    server.server.sql("DROP TABLESPACE IF EXISTS fastdisk")


def test_a_tablespace_that_does_not_exist(placed: PostgreSQLServer, restore: Restore) -> None:
    assert "tablespaces" not in preview()
    placed.server.sql("DROP TABLESPACE fastdisk")
    assert "the tablespaces fastdisk do not exist here" in preview()
    advice = restore().advice
    assert "The tablespaces fastdisk cannot be used here, so everything is in the default tablespace" in advice
    assert placed.count("big") == 1


def test_a_drill_needs_no_tablespace(placed: PostgreSQLServer) -> None:
    placed.server.sql("DROP TABLESPACE fastdisk")
    assert drill_backup().succeeded


def test_a_tablespace_that_exists(placed: PostgreSQLServer, restore: Restore) -> None:
    assert restore().advice == ""
    assert placed.run("SELECT tablespace FROM pg_tables WHERE tablename = 'big'") == [("fastdisk",)]
    placed.run("DROP TABLE big")
    for name in placed.made("before"):
        placed.server.sql(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_tablespace_that_the_manifest_does_not_know(placed: PostgreSQLServer, restore: Restore) -> None:
    """The archive is complete, and no message says otherwise."""
    (path,) = placed.site.backups.glob("*.json")
    path.write_text(path.read_text().replace('"fastdisk"', ""))
    placed.server.sql("DROP TABLESPACE fastdisk")
    with pytest.raises(Exception, match=r"(?s)as it was.*Create the tablespace") as caught:
        restore()
    assert "not complete" not in str(caught.value)


@pytest.fixture
def columnar(postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
    """A backup of a table with an access method of its own."""
    server = postgresql_server
    server.run(
        "CREATE ACCESS METHOD columnar TYPE TABLE HANDLER heap_tableam_handler",
        "CREATE TABLE wide (id int PRIMARY KEY) USING columnar",
        "INSERT INTO wide VALUES (1)",
    )
    assert create_backup().engine.access_methods == ("columnar",)
    server.run("DROP TABLE wide", "DROP ACCESS METHOD columnar")
    return server


@on_every_postgresql
def test_an_access_method_that_is_left_out(columnar: PostgreSQLServer, restore: Restore) -> None:
    assert "the access methods columnar do not exist here" in preview()
    report = restore(skip=["ACCESS METHOD columnar"])
    assert "The access methods columnar do not exist here" in report.advice
    assert report.skipped == ("ACCESS METHOD columnar",)
    assert columnar.count("wide") == 1


@on_every_postgresql
def test_an_access_method_that_is_in_the_backup(columnar: PostgreSQLServer, restore: Restore) -> None:
    assert restore().advice == ""
    query = "SELECT amname FROM pg_class c JOIN pg_am a ON a.oid = relam WHERE relname = 'wide'"
    assert columnar.run(query) == [("columnar",)]


ODD = 'Gone, "1"; it\'s TO x'
QUOTED = '"' + ODD.replace('"', '""') + '"'


@pytest.fixture
def without_roles(own_postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
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
def test_policies_and_user_mappings_of_missing_roles(without_roles: PostgreSQLServer, in_place: bool) -> None:
    advice = restore_backup(in_place=in_place, discard_old=True).advice
    assert without_roles.count("book") == BOOKS
    for name in ("the policy for_gone ON author", 'the policy "odd TO gone" ON author', "the user mapping of gone",
                 f"the user mapping of {ODD}"):  # fmt: skip
        assert name in advice
    assert "stays" not in advice
    assert "t0p-secret" not in advice
    assert without_roles.run("SELECT polname FROM pg_policy ORDER BY 1") == [("for_all",), ("for_stays",)]
    assert without_roles.run("SELECT usename FROM pg_user_mappings ORDER BY 1") == [("public",), ("stays",)]
    comment = without_roles.run("SELECT obj_description(oid) FROM pg_policy WHERE polname = 'for_stays'")
    assert comment == [("of stays",)]


def test_the_preview_names_missing_roles(without_roles: PostgreSQLServer) -> None:
    answer = without_roles.site.call("backup_restore", "latest")
    assert "policies and user mappings that name them are left out" in answer.stdout + answer.stderr
