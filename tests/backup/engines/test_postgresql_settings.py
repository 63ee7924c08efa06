"""Settings and privileges of the database itself: in force while a backup is loaded and checked, and after a loss."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from django.dispatch import receiver

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.services.verification.drill import drill_backup
from django_cfg.backup.signals import restore_checked
from tests.support.database_servers import on_every_postgresql
from tests.support.postgresql_databases import PostgreSQLServer

IN_PLACE = {"in_place": True, "discard_old": True}
VIEWS = ("SELECT day::text, n FROM per_day ORDER BY 1", "SELECT id, v::text FROM words ORDER BY 1")


@pytest.fixture
def server(postgresql_server: PostgreSQLServer) -> Iterator[PostgreSQLServer]:
    yield postgresql_server
    assert postgresql_server.made("restoring") == []


def set_database(server: PostgreSQLServer, *changes: str) -> None:
    name = server.databases["default"]
    server.server.sql(*(f"ALTER DATABASE {name} {change}" for change in changes))


def ask(server: PostgreSQLServer, query: str) -> None:
    server.site.configure(databases=[{"alias": "default", "verification_queries": [query]}])


def lose(server: PostgreSQLServer) -> None:
    server.site.close()
    server.server.sql(f"DROP DATABASE {server.databases['default']} WITH (FORCE)")


def properties(server: PostgreSQLServer) -> dict[str, object]:
    """What belongs to the database, as the server's own catalogues have it."""
    ((found,),) = server.server.sql(
        "SELECT to_jsonb(d) - '{oid,datfrozenxid,datminmxid,dattablespace}'::text[] || jsonb_build_object("
        "'comment', shobj_description(oid, 'pg_database'), 'owner', pg_get_userbyid(datdba), 'settings', (SELECT "
        "array_agg(setrole::text || setconfig::text ORDER BY setrole) FROM pg_db_role_setting WHERE setdatabase = oid))"
        f" FROM pg_database d WHERE datname = '{server.databases['default']}'"
    )
    assert isinstance(found, dict)
    return found


@pytest.fixture
def computed(server: PostgreSQLServer) -> list[list[tuple[object, ...]]]:
    """A database whose materialized views depend on its settings; their rows."""
    set_database(server, "SET timezone = 'Europe/Berlin'", "SET default_text_search_config = 'pg_catalog.german'")
    server.run(
        "CREATE TABLE visit (id int PRIMARY KEY, at timestamptz NOT NULL, body text)",
        "INSERT INTO visit VALUES (1, '2026-01-01 22:30+00', 'Häuser und Bäume'), (2, '2026-01-01 23:30+00', 'Katzen')",
        "CREATE MATERIALIZED VIEW per_day AS SELECT at::date AS day, count(*) AS n FROM visit GROUP BY 1",
        "CREATE MATERIALIZED VIEW words AS SELECT id, to_tsvector(body) AS v FROM visit",
    )
    before = [server.run(query) for query in VIEWS]
    assert before[0] == [("2026-01-01", 1), ("2026-01-02", 1)]
    create_backup()
    return before


@on_every_postgresql
@pytest.mark.parametrize("lost", [False, True])
def test_materialized_views_are_computed_with_the_settings_of_the_database(
    server: PostgreSQLServer, computed: list[list[tuple[object, ...]]], lost: bool
) -> None:
    if lost:
        lose(server)
    restore_backup()
    assert [server.run(query) for query in VIEWS] == computed


@pytest.fixture
def searching(server: PostgreSQLServer) -> PostgreSQLServer:
    """A project in a schema of its own, with a setting of its own; both are set for the database."""
    set_database(server, "SET search_path = app, public", "SET app.currency = 'E''U\\R'")
    server.run(
        "CREATE SCHEMA app",
        "CREATE TABLE app.price (id int PRIMARY KEY, amount numeric)",
        "INSERT INTO app.price VALUES (1, 2), (2, 3)",
        "CREATE MATERIALIZED VIEW app.shown AS "
        "SELECT id, amount || ' ' || current_setting('app.currency') AS t FROM app.price",
        "CREATE TABLE app.django_migrations (id int, app text, name text)",
        "INSERT INTO app.django_migrations VALUES (1, 'auth', '0001_initial')",
    )
    ask(server, "SELECT count(*) = 2 FROM price")
    create_backup()
    return server


@pytest.mark.parametrize("lost", [False, True])
def test_names_and_settings_of_the_project_are_found(searching: PostgreSQLServer, lost: bool) -> None:
    if lost:
        lose(searching)
    restore_backup()
    assert searching.run("SELECT t FROM app.shown ORDER BY 1") == [("2 E'U\\R",), ("3 E'U\\R",)]


@pytest.mark.parametrize("lost", [False, True])
def test_a_drill_finds_them_too(searching: PostgreSQLServer, lost: bool) -> None:
    if lost:
        lose(searching)
    assert drill_backup().queries == 1


def test_a_drill_next_to_another_database_finds_them_too(searching: PostgreSQLServer) -> None:
    """Those of the database that was backed up count; the privileges are those of the other."""
    other, keeper = searching.databases["empty"], searching.role("keeper")
    closed = f"SELECT NOT has_database_privilege('{keeper}', current_database(), 'CONNECT')"
    searching.site.configure(
        databases=[{"alias": "default", "verification_queries": ["SELECT count(*) = 2 FROM price", closed]}],
        verification={"drill_alias": "empty"},
    )
    searching.server.sql(
        f"ALTER DATABASE {other} SET search_path = nowhere", f"REVOKE ALL ON DATABASE {other} FROM PUBLIC"
    )
    assert drill_backup().queries == 2


def test_a_manifest_holds_no_value_of_a_setting_of_the_projects_own(server: PostgreSQLServer) -> None:
    """It may be a secret, and a manifest is never encrypted."""
    set_database(server, "SET app.jwt_secret = 't0p-secret'", "SET work_mem = '7MB'")
    role = server.role("reader")
    server.server.sql(f"ALTER ROLE {role} IN DATABASE {server.databases['default']} SET app.token = 't0p-secret'")
    manifest = create_backup()
    assert b"t0p-secret" not in manifest.to_json()
    found = manifest.engine.properties
    assert found
    assert [(setting.role, setting.name, setting.value) for setting in found.settings] == [
        ("", "app.jwt_secret", None),
        ("", "work_mem", "7MB"),
        (role, "app.token", None),
    ]
    lose(server)
    restore_backup()
    assert server.run("SELECT current_setting('app.jwt_secret'), current_setting('work_mem')") == [
        ("t0p-secret", "7MB")
    ]


def test_the_data_is_closed_to_roles_that_may_not_connect_to_the_target(server: PostgreSQLServer) -> None:
    name = server.databases["default"]
    keeper, guest = server.role("keeper"), server.role("guest")
    server.run("GRANT SELECT ON book TO PUBLIC")
    server.server.sql(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC", f"GRANT CONNECT ON DATABASE {name} TO {guest}")
    create_backup()
    refused: list[str] = []

    def enter(scratch: dict[str, object], **_: object) -> None:
        with pytest.raises(psycopg.OperationalError, match="CONNECT privilege"):
            server.server.connect(str(scratch["NAME"]), keeper, "pw")
        server.server.connect(str(scratch["NAME"]), guest, "pw").close()
        refused.append(str(scratch["NAME"]))

    receiver(restore_checked)(enter)
    try:
        restore_backup()
        lose(server)
        restore_backup()
    finally:
        restore_checked.disconnect(enter)
    assert len(refused) == 2
    with pytest.raises(psycopg.OperationalError, match="CONNECT privilege"):
        server.server.connect(name, keeper, "pw")


def test_no_role_enters_the_scratch_of_a_drill_before_it_is_known_who_may(server: PostgreSQLServer) -> None:
    name = server.databases["default"]
    keeper = server.role("keeper")
    server.server.sql(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
    query = (
        f"SELECT NOT has_database_privilege('{keeper}', current_database(), 'CONNECT') "
        f"AND NOT has_database_privilege('{keeper}', current_database(), 'TEMPORARY')"
    )
    ask(server, query)
    create_backup()
    assert drill_backup().queries == 1


def test_a_lost_database_comes_back_with_what_belongs_to_it(server: PostgreSQLServer) -> None:
    name = server.databases["default"]
    owner, lead = server.role("shop_owner"), server.role('"Lead 1"')
    set_database(
        server,
        f"OWNER TO {owner}",
        'SET search_path = "$user", "Odd, name", public',
        "SET statement_timeout = '30s'",
        "CONNECTION LIMIT 30",
    )
    server.server.sql(
        f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC",
        f"GRANT CONNECT, CREATE ON DATABASE {name} TO {lead} WITH GRANT OPTION",
        f"COMMENT ON DATABASE {name} IS 'the shop''s'",
        f"ALTER ROLE {lead} IN DATABASE {name} SET work_mem = '7MB'",
    )
    before = properties(server)
    create_backup()
    lose(server)
    assert restore_backup().advice == ""
    after = properties(server)
    grants, expected = after.pop("datacl"), before.pop("datacl")
    assert isinstance(grants, list)
    assert isinstance(expected, list)
    assert (after, sorted(grants)) == (before, sorted(expected))


def test_what_a_lost_database_cannot_have_again_is_named(server: PostgreSQLServer) -> None:
    """A setting that only a superuser may make, and a role that is not there."""
    name = server.databases["default"]
    maker = server.role("maker", "LOGIN PASSWORD 'pw' CREATEDB")
    server.server.sql(f"CREATE ROLE gone_{name}", f"GRANT CONNECT ON DATABASE {name} TO gone_{name}")
    set_database(server, "SET log_statement = 'all'", "SET work_mem = '7MB'")
    create_backup()
    lose(server)
    server.server.sql(f"DROP ROLE gone_{name}")
    server.use(USER=maker, PASSWORD="pw")
    server.site.configure()
    advice = restore_backup().advice
    assert "its setting log_statement (permission denied" in advice
    assert f"the privileges of gone_{name} on it (role" in advice
    assert server.run("SHOW work_mem") == [("7MB",)]


@pytest.mark.parametrize("of_role", [False, True])
@pytest.mark.parametrize("options", [{}, IN_PLACE, {"tables": ("book",), "discard_old": True}])
def test_a_site_that_was_frozen_can_be_restored(
    server: PostgreSQLServer, options: dict[str, object], of_role: bool
) -> None:
    """By default_transaction_read_only, of the database or of the role; it stays frozen."""
    name = server.databases["default"]
    shop = server.role("shop", "LOGIN PASSWORD 'pw' SUPERUSER")
    create_backup()
    server.run("DELETE FROM book")
    server.server.sql(
        f"ALTER {f'ROLE {shop}' if of_role else f'DATABASE {name}'} SET default_transaction_read_only = on"
    )
    server.use(USER=shop, PASSWORD="pw")
    server.site.configure()
    restore_backup(**options)  # type: ignore[arg-type]
    assert server.count("book") == 200
    with server.server.connect(name, shop, "pw") as connection:
        assert connection.execute("SHOW default_transaction_read_only").fetchone() == ("on",)


OF_ANOTHER = (
    "CREATE SCHEMA legacy",
    "CREATE TABLE legacy.django_migrations (id int, app text, name text)",
    "INSERT INTO legacy.django_migrations VALUES (1, 'shop', '0001_initial')",
)


def test_migrations_of_another_project_in_the_same_database(server: PostgreSQLServer) -> None:
    """No search path finds them: neither the backup nor its drill looks at them."""
    server.run(*OF_ANOTHER)
    assert create_backup().migrations == {}
    assert drill_backup().succeeded


def test_migrations_that_are_found_with_the_settings_of_the_backup_alone(server: PostgreSQLServer) -> None:
    server.run(*OF_ANOTHER)
    server.use(OPTIONS={"options": "-c search_path=legacy"})
    assert create_backup().migrations == {"shop": ("0001_initial",)}
    server.use()
    assert drill_backup().succeeded
