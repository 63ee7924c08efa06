"""Owners, grants, and restores by roles that are no superuser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.errors import RestoreFailed
from tests.support.databases import BOOKS, fail_unless_equal
from tests.support.postgresql_databases import PostgreSQLServer


@pytest.fixture
def server(postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
    return postgresql_server


@pytest.fixture
def keeper(server: PostgreSQLServer) -> Iterator[str]:
    """A role that owns both databases and all that is in them, and is no superuser."""
    role = server.role("keeper")
    for name in server.databases.values():
        server.server.sql(f"ALTER DATABASE {name} OWNER TO {role}")
    server.run(*(f"ALTER TABLE {table} OWNER TO {role}" for table in ("author", "book")))
    server.use(USER=role, PASSWORD="pw")
    return role


def test_owners_and_grants_come_back(server: PostgreSQLServer) -> None:
    """A superuser restores every owner and every grant, and there is nothing to tell."""
    seller, reader = server.role("seller"), server.role('"Reader 1"')
    server.run(
        f"ALTER TABLE book OWNER TO {seller}", f"GRANT SELECT ON author TO {reader} WITH GRANT OPTION",
        f"CREATE SCHEMA shop AUTHORIZATION {seller}", f"CREATE POLICY own ON author TO {reader} USING (true)",
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {seller} GRANT SELECT ON TABLES TO {reader}",
    )  # fmt: skip
    before = server.text()
    assert set(create_backup().engine.roles) == {"owner", seller, reader.strip('"')}
    server.run(
        "ALTER TABLE book OWNER TO owner", f"REVOKE ALL ON author FROM {reader}", f"GRANT ALL ON author TO {seller}",
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {seller} IN SCHEMA shop GRANT ALL ON TABLES TO {reader}",
    )  # fmt: skip
    assert restore_backup().advice == ""
    fail_unless_equal(before, server.text())


def test_missing_roles_are_named_and_their_things_restored(server: PostgreSQLServer) -> None:
    """Where a role is missing, everything is restored, belongs to who restored it, and the role is named."""
    gone = server.role("gone")
    server.run(f"ALTER TABLE book OWNER TO {gone}", f"GRANT SELECT ON author TO {gone}")
    create_backup()
    server.run(f"REASSIGN OWNED BY {gone} TO owner", f"DROP OWNED BY {gone}", "DELETE FROM book")
    server.server.sql(f"DROP ROLE {gone}")
    advice = restore_backup().advice
    assert gone in advice
    assert "without owners" in advice
    assert server.count("book") == BOOKS
    assert server.run("SELECT tableowner FROM pg_tables WHERE tablename = 'book'") == [("owner",)]


def test_the_role_that_made_the_server_is_missed_too(own_postgresql_server: PostgreSQLServer) -> None:
    """PostgreSQL keeps no note of what its first superuser owns; on another server that role may have another name."""
    server = own_postgresql_server
    create_backup()
    server.server.sql("CREATE ROLE other SUPERUSER LOGIN PASSWORD 'pw'")
    try:
        with server.server.connect(user="other", password="pw") as other:
            other.execute("ALTER ROLE owner RENAME TO first")
        server.use(USER="other", PASSWORD="pw")
        assert "owner" in restore_backup().advice
    finally:
        server.site.close()
        with server.server.connect(user="other", password="pw") as other:
            other.execute("ALTER ROLE first RENAME TO owner")
            other.execute("ALTER ROLE owner PASSWORD 's3cret-owner'")
        server.run("REASSIGN OWNED BY other TO owner", "DROP OWNED BY other")
        server.server.sql("DROP ROLE other")
    assert server.count("book") == BOOKS


def test_the_owner_of_a_database_restores_it(server: PostgreSQLServer, keeper: str) -> None:
    """No superuser is needed: not for the schema public, not for extensions and their comments, nor large objects."""
    server.run("CREATE EXTENSION citext", "CREATE SCHEMA far", "CREATE EXTENSION hstore SCHEMA far")
    server.run(
        f"SET ROLE {keeper}", "CREATE TABLE tag (name citext)", "INSERT INTO tag VALUES ('Tag')",
        "SELECT lo_from_bytea(815, 'x')", "CREATE SCHEMA mine", "CREATE TABLE mine.t ()", "RESET ROLE",
        f"GRANT ALL ON SCHEMA far TO {keeper}",
    )  # fmt: skip
    server.run(f"REVOKE ALL ON SCHEMA far FROM {keeper}")
    before = server.text()
    create_backup()
    server.run(f"SET ROLE {keeper}", "DELETE FROM tag", "CREATE TABLE later (i int)", "SELECT lo_unlink(815)")
    restore_backup()
    fail_unless_equal(before, server.text())


def test_a_role_that_owns_too_little_changes_nothing(server: PostgreSQLServer) -> None:
    """The message names the object that is not its own; the database is as it was."""
    role = server.role("guest")
    create_backup()
    server.run("DELETE FROM book WHERE id > 10", f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    before = server.text()
    server.use(USER=role, PASSWORD="pw")
    with pytest.raises(
        RestoreFailed, match=r"(?s)'default'.*as it was.*must be owner of.*Restore with a role that owns"
    ):
        restore_backup()
    fail_unless_equal(before, server.text())


def test_what_changes_hands_is_named(server: PostgreSQLServer, keeper: str) -> None:
    """Restored by a role that may not give things away, everything is its own, and the report says so."""
    other = server.role("other_owner")
    server.run("CREATE TABLE theirs (i int)", f"ALTER TABLE theirs OWNER TO {other}")
    server.use()
    create_backup()
    server.use(USER=keeper, PASSWORD="pw")
    assert f"{keeper} is no superuser" in restore_backup(to="empty").advice
    owners = server.run("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'", alias="empty")
    assert owners == [(keeper,)]


def test_some_tables_need_no_right_on_the_others(server: PostgreSQLServer) -> None:
    """Not even on Django's record of its migrations, which such a backup does without."""
    server.run(
        "CREATE TABLE django_migrations (id int, app text, name text)",
        "INSERT INTO django_migrations VALUES (1, 'shop', '0001_initial')",
    )
    role = server.role("clerk")
    server.run(f"GRANT SELECT ON author TO {role}")
    server.use(USER=role, PASSWORD="pw")
    server.site.configure(databases=[{"alias": "default", "include_tables": ["author"]}])
    assert create_backup().migrations == {}
    server.run(f"GRANT SELECT ON django_migrations TO {role}")
    assert create_backup().migrations == {"shop": ("0001_initial",)}
