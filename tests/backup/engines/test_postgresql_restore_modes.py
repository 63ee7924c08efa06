"""Which form a restore takes: into a staging database where the role and the server allow it, in place otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from django_cfg.backup import create_backup, list_backups, restore_backup
from django_cfg.backup.engines.base import Preflight, RestoreOptions
from django_cfg.backup.errors import RestoreRefused, ToolTooOld
from django_cfg.backup.services.restore.restore import RestoreRequest, plan_restore
from tests.support.databases import BOOKS, fail_unless_equal
from tests.support.postgresql_databases import PostgreSQLServer
from tests.support.postgresql_server import postgresql_programs


@pytest.fixture
def server(postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
    return postgresql_server


def outlook(**options: bool) -> Preflight:
    return plan_restore(RestoreRequest(options=RestoreOptions(**options))).preflight


def preview(**options: bool) -> str:
    return "\n".join(f"{finding.level} {finding.text}" for finding in outlook(**options).findings)


def owner(server: PostgreSQLServer, attributes: str) -> str:
    """A role that owns the database and all that is in it, and is no superuser."""
    role = server.role("keeper", f"LOGIN PASSWORD 'pw' {attributes}")
    server.server.sql(f"ALTER DATABASE {server.databases['default']} OWNER TO {role}")
    server.run(*(f"ALTER TABLE {table} OWNER TO {role}" for table in ("author", "book")))
    server.use(USER=role, PASSWORD="pw")
    return role


def test_a_superuser_restores_into_a_staging_database(server: PostgreSQLServer) -> None:
    create_backup()
    assert (outlook().uses_staging, outlook().keeps_old_data) == (True, True)
    assert "the old data is kept as " in preview()
    assert "the old data is dropped then" in preview(discard_old=True)


def test_an_owner_who_may_create_databases_restores_into_a_staging_database(server: PostgreSQLServer) -> None:
    """With trusted extensions, and whatever else an owner may make."""
    role = owner(server, "CREATEDB")
    server.run("CREATE EXTENSION citext", f"SET ROLE {role}", "CREATE TABLE tag (name citext)", "RESET ROLE")
    server.server.sql(f"ALTER DATABASE {server.databases['default']} SET work_mem = '7MB'")
    before = server.text()
    create_backup()
    server.run("DELETE FROM book")
    assert outlook().uses_staging
    assert restore_backup().old_data
    after = [line.replace(f"OWNER TO {role}", "OWNER TO owner") for line in server.text()]
    fail_unless_equal([line.replace(f"OWNER TO {role}", "OWNER TO owner") for line in before], after)


def test_without_that_right_it_is_done_in_place_and_said(server: PostgreSQLServer) -> None:
    """The old data is backed up first, since nothing is left of it otherwise."""
    role = owner(server, "")
    made = create_backup()
    server.run("DELETE FROM book WHERE id > 10")
    assert f"WARNING in place, in one transaction (the role {role} may not create" in preview()
    assert "what it writes after the backup that is made first is lost: stop it" in preview()
    assert "is lost" not in preview(discard_old=True)
    assert restore_backup().old_data is None
    assert server.count("book") == BOOKS
    newest, first = list_backups()
    assert (newest.trigger, first.name) == ("before-restore", made.name)
    assert {table.name: table.rows for table in newest.tables}["public.book"] == 10
    restore_backup(newest.name, discard_old=True)
    assert server.count("book") == 10
    assert len(list_backups()) == 2


def test_the_latest_is_never_a_backup_made_before_a_restore(server: PostgreSQLServer) -> None:
    """Two restores of the latest restore the same."""
    create_backup()
    server.run("DELETE FROM book")
    restore_backup(in_place=True)
    restore_backup(in_place=True, discard_old=True)
    assert server.count("book") == BOOKS


def test_a_role_that_does_not_own_the_database_restores_in_place(server: PostgreSQLServer) -> None:
    create_backup()
    role = server.role("guest", "LOGIN PASSWORD 'pw' CREATEDB")
    server.run(*(f"ALTER TABLE {table} OWNER TO {role}" for table in ("author", "book")))
    server.use(USER=role, PASSWORD="pw")
    assert f"the role {role} does not own the database" in preview()


def test_an_extension_that_only_a_superuser_may_create_is_kept_in_place(server: PostgreSQLServer) -> None:
    server.run("CREATE EXTENSION file_fdw")
    role = owner(server, "CREATEDB")
    create_backup()
    assert f"the role {role} may not create the extension file_fdw" in preview()
    server.run("DELETE FROM book")
    restore_backup()
    assert server.count("book") == BOOKS


def test_a_subscription_is_kept_in_place(server: PostgreSQLServer) -> None:
    """It belongs to the database by its identity, and would go on feeding the old one."""
    create_backup()
    server.run(
        "CREATE SUBSCRIPTION feed CONNECTION 'host=127.0.0.1 dbname=nowhere' PUBLICATION p "
        "WITH (connect = false, slot_name = NONE)"
    )
    try:
        assert "the subscription feed belongs to it" in preview()
        restore_backup()
        assert server.run("SELECT subname FROM pg_subscription") == [("feed",)]
    finally:
        server.run("DROP SUBSCRIPTION feed")


def test_no_other_database_accepts_us(own_postgresql_server: PostgreSQLServer) -> None:
    """As behind a pooler that knows only the site's: no session can rename the database it is connected to."""
    server = own_postgresql_server
    role = owner(server, "CREATEDB")
    server.server.sql(
        "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC", "REVOKE CONNECT ON DATABASE template1 FROM PUBLIC"
    )
    try:
        create_backup()
        assert f"no other database of the server accepts {role} (postgres or template1)" in preview()
        server.run("DELETE FROM book")
        restore_backup()
    finally:
        server.server.sql(
            "GRANT CONNECT ON DATABASE postgres TO PUBLIC", "GRANT CONNECT ON DATABASE template1 TO PUBLIC"
        )
    assert server.count("book") == BOOKS


def test_template1_is_a_way_in_where_postgres_is_not(own_postgresql_server: PostgreSQLServer) -> None:
    server = own_postgresql_server
    owner(server, "CREATEDB")
    server.server.sql("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC")
    try:
        create_backup()
        assert outlook().uses_staging
        assert restore_backup().old_data
    finally:
        server.server.sql("GRANT CONNECT ON DATABASE postgres TO PUBLIC")


def test_a_backup_of_a_newer_server_is_warned_of(server: PostgreSQLServer) -> None:
    manifest = create_backup()
    path = server.site.backups / manifest.key
    newer = f'"server_version": "{server.server.major + 1}.0"'
    path.write_text(path.read_text().replace(f'"server_version": "{manifest.engine.server_version}"', newer))
    assert f"WARNING the backup is of PostgreSQL {server.server.major + 1}.0" in preview()


def test_newer_programs_are_reported_and_older_ones_refused(server: PostgreSQLServer) -> None:
    create_backup()
    oldest, newest = postgresql_programs()[0], postgresql_programs()[-1]
    if server.server.programs == oldest:
        server.site.configure(tools_dir=str(newest))
        assert "is newer than the server" in preview() or oldest == newest
    else:
        server.site.configure(tools_dir=str(oldest))
        with pytest.raises(ToolTooOld, match="To restore the database 'default'"):
            plan_restore(RestoreRequest())


def test_missing_roles_are_named_before(server: PostgreSQLServer) -> None:
    role = server.role("gone")
    server.run(f"GRANT SELECT ON author TO {role}")
    create_backup()
    server.run(f"DROP OWNED BY {role}")
    server.server.sql(f"DROP ROLE {role}")
    assert f"WARNING the roles {role} do not exist here" in preview()
    assert role in restore_backup().advice


def test_space_is_reported(server: PostgreSQLServer) -> None:
    """The server is on this machine and shows its folder to a superuser; to others it does not."""
    create_backup()
    assert "are needed on the server's disk, " in preview()
    assert " are free" in preview()
    owner(server, "CREATEDB")
    assert "whose free space is not known here" in preview()


def test_backups_switched_off_do_not_let_the_old_data_be_lost(server: PostgreSQLServer) -> None:
    """In place no database keeps it: a person has asked for the restore, and the backup before it is part of that."""
    create_backup()
    server.run("DELETE FROM book WHERE id > 10")
    server.site.configure(enabled=False)
    restore_backup(in_place=True)
    assert server.count("book") == BOOKS
    (before,) = [manifest for manifest in list_backups() if manifest.trigger == "before-restore"]
    restore_backup(before.name)
    assert server.count("book") == 10


@pytest.mark.parametrize(
    ("options", "why"), [({"in_place": True}, "--in-place"), ({"tables": ("book",)}, "--tables"), ({}, "CREATEDB")]
)
def test_disconnect_is_refused_where_nothing_is_switched(
    server: PostgreSQLServer, options: dict[str, Any], why: str
) -> None:
    """Also where another form than in place was expected; it would be ignored otherwise."""
    owner(server, "" if not options else "CREATEDB")
    create_backup()
    with pytest.raises(RestoreRefused, match=f"(?s)--disconnect.*{why}.*stop the site"):
        restore_backup(disconnect=True, **options)
