"""The restore into a staging database: what the new database has of the old one, and what becomes of that."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from importlib.util import find_spec
from typing import Any

import psycopg
import pytest
from django.db import connections

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.base import RestoreOptions
from django_cfg.backup.errors import RestoreRefused
from django_cfg.backup.manifest import Characters
from django_cfg.backup.services.restore.restore import RestoreRequest, plan_restore
from tests.support import needs
from tests.support.database_servers import on_every_postgresql
from tests.support.databases import AUTHORS, BOOKS, fail_unless_equal
from tests.support.postgresql_databases import PostgreSQLServer
from tests.support.processes import in_parallel, wait_until
from tests.support.restore_receiver import received

# All that pg_dump of one database does not tell.
OUTSIDE = """
SELECT pg_encoding_to_char(encoding), datcollate, datctype, datallowconn, datconnlimit, datistemplate, datacl::text,
    pg_get_userbyid(datdba), (SELECT spcname FROM pg_tablespace WHERE oid = dattablespace),
    shobj_description(oid, 'pg_database'), (to_jsonb(d) - 'oid') ->> 'datlocprovider',
    coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'), to_jsonb(d) ->> 'daticurules',
    (SELECT array_agg(coalesce(pg_get_userbyid(nullif(setrole, 0)), '-') || setconfig::text ORDER BY setrole)
     FROM pg_db_role_setting WHERE setdatabase = d.oid)
FROM pg_database d WHERE datname = %s
"""


@pytest.fixture
def server(postgresql_server: PostgreSQLServer) -> Iterator[PostgreSQLServer]:
    yield postgresql_server
    assert postgresql_server.made("restoring") == []


def outside(server: PostgreSQLServer, alias: str = "default") -> tuple[object, ...]:
    with server.server.connect() as connection:
        return connection.execute(OUTSIDE, [server.databases[alias]]).fetchone() or ()


def findings(server: PostgreSQLServer, **options: bool) -> str:
    """What a restore would tell before it asks."""
    return "\n".join(
        finding.text for finding in plan_restore(RestoreRequest(options=RestoreOptions(**options))).preflight.findings
    )


# What lives outside the dump


def test_what_is_outside_of_the_dump_survives(server: PostgreSQLServer) -> None:
    """Owner, privileges, comment, settings of the database and of roles in it, limits, encoding and collation."""
    name = server.databases["default"]
    owner, reader = server.role("shop_owner"), server.role('"Reader 1"')
    server.server.sql(
        f"ALTER DATABASE {name} OWNER TO {owner}",
        f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC",
        f"GRANT CONNECT, TEMPORARY ON DATABASE {name} TO {reader} WITH GRANT OPTION",
        f"GRANT CREATE ON DATABASE {name} TO {reader}",
        f"COMMENT ON DATABASE {name} IS 'it''s the shop''s'",
        f"ALTER DATABASE {name} SET search_path TO \"$user\", 'Odd, name', public",
        f"ALTER DATABASE {name} SET work_mem = '7MB'",
        f"ALTER DATABASE {name} SET app.greeting = 'it''s \"here\", \\ there'",
        f"ALTER DATABASE {name} SET default_transaction_read_only = on",
        f"ALTER ROLE {reader} IN DATABASE {name} SET statement_timeout = '3s'",
        f"ALTER ROLE {reader} IN DATABASE {name} SET DateStyle = 'SQL, DMY'",
        f"ALTER DATABASE {name} CONNECTION LIMIT 17",
        f"ALTER DATABASE {name} IS_TEMPLATE true",
    )
    try:
        before = outside(server)
        create_backup()
        kept = restore_backup().old_data
        assert outside(server) == before
        assert kept == f"the database {server.made('before')[0]}"
    finally:
        for database in (name, *server.made("before")):
            server.server.sql(f"ALTER DATABASE {database} IS_TEMPLATE false")


@on_every_postgresql
@pytest.mark.parametrize(
    "choices",
    [
        "ENCODING LATIN1 LOCALE 'C'",
        "ENCODING SQL_ASCII LOCALE 'C'",
        "ENCODING UTF8 LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'",
        "ENCODING UTF8 LOCALE 'C.UTF-8' LOCALE_PROVIDER icu ICU_LOCALE 'de-u-co-phonebk'",
        "ENCODING UTF8 LOCALE 'C.UTF-8' LOCALE_PROVIDER icu ICU_LOCALE 'und' ICU_RULES '&a < g'",
        "ENCODING UTF8 LOCALE 'C' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'",
    ],
)
def test_encoding_and_collation_survive(server: PostgreSQLServer, choices: str) -> None:
    name = server.databases["empty"]
    server.server.sql(f"DROP DATABASE {name}")
    try:
        server.server.sql(f"CREATE DATABASE {name} TEMPLATE template0 {choices}")
    except (psycopg.errors.SyntaxError, psycopg.errors.FeatureNotSupported, psycopg.errors.InvalidParameterValue):
        server.server.sql(f"CREATE DATABASE {name}")
        pytest.skip("this server does not know such a locale")
    server.run("CREATE TABLE word (w text)", "INSERT INTO word VALUES ('a')", alias="empty")
    before = outside(server, "empty")
    create_backup("empty")
    restore_backup(database="empty")
    assert outside(server, "empty") == before
    assert len(server.made("before", "empty")) == 1


def test_a_tablespace_survives(own_postgresql_server: PostgreSQLServer) -> None:
    server = own_postgresql_server
    name = server.databases["default"]
    with server.server.connect() as connection:
        connection.execute("SET allow_in_place_tablespaces = on")
        connection.execute("CREATE TABLESPACE other LOCATION ''")
    try:
        server.server.sql(f"ALTER DATABASE {name} SET TABLESPACE other")
        create_backup()
        restore_backup(discard_old=True)
        assert outside(server)[8] == "other"
    finally:
        server.site.close()
        server.server.sql(f"ALTER DATABASE {name} SET TABLESPACE pg_default", "DROP TABLESPACE other")


# Others


def test_connections_are_named_before_it_begins_and_ended_only_on_demand(server: PostgreSQLServer) -> None:
    """Those that come back at once do not keep the database either."""
    create_backup()
    server.run("DELETE FROM book")
    with closing(server.connect()) as site:
        site.execute("SET application_name = 'the site'")
        assert "1 connection is in the way" in findings(server)
        assert "the site, from 127.0.0.1" in findings(server)
        assert "is ended at the switch" in findings(server, disconnect=True)
        restore_backup(disconnect=True)
        with pytest.raises(psycopg.OperationalError):
            site.execute("SELECT 1")
    assert server.count("book") == BOOKS


def test_a_site_that_reconnects_never_sees_a_mixture(server: PostgreSQLServer) -> None:
    """While its connections are ended, it sees the old rows, no database for a moment, or the new rows."""
    create_backup()
    server.run("DELETE FROM book WHERE id > 10")
    seen: list[tuple[int, int]] = []
    stop = time.monotonic() + 60

    def visit() -> None:
        while (BOOKS, AUTHORS) not in seen and time.monotonic() < stop:
            try:
                with server.connect() as connection:
                    while (BOOKS, AUTHORS) not in seen and time.monotonic() < stop:
                        query = "SELECT (SELECT count(*) FROM book), (SELECT count(*) FROM author)"
                        seen.append(connection.execute(query).fetchone() or (-1, -1))
            except psycopg.OperationalError:
                continue

    with in_parallel(visit):
        wait_until(lambda: seen)
        restore_backup(disconnect=True)
    assert set(seen) == {(10, AUTHORS), (BOOKS, AUTHORS)}


# Where there is no database, or no right to make one


def test_a_lost_database_is_created_again(server: PostgreSQLServer) -> None:
    """Dropped by mistake: nothing has to be created by hand first."""
    before = server.text()
    create_backup()
    server.site.close()
    server.server.sql(f"DROP DATABASE {server.databases['default']}")
    switched = restore_backup()
    assert switched.old_data is None
    fail_unless_equal(before, server.text())


CHARACTERS = {
    "latin": "ENCODING LATIN1 LOCALE 'C'",
    "icu": "ENCODING UTF8 LOCALE_PROVIDER icu ICU_LOCALE 'sv-SE' LOCALE 'C'",
}


@on_every_postgresql
@pytest.mark.parametrize("kind", CHARACTERS)
def test_a_lost_database_gets_its_own_encoding_and_collation(server: PostgreSQLServer, kind: str) -> None:
    name = server.databases["empty"]
    server.site.close()
    server.server.sql(f"DROP DATABASE {name}")
    try:
        server.server.sql(f"CREATE DATABASE {name} TEMPLATE template0 {CHARACTERS[kind]}")
    except (psycopg.errors.SyntaxError, psycopg.errors.FeatureNotSupported):
        server.server.sql(f"CREATE DATABASE {name}")
        pytest.skip("this server does not know ICU for a database")
    server.run("CREATE TABLE a (b text)", "INSERT INTO a VALUES ('Ä')", alias="empty")
    before = outside(server, "empty")
    create_backup("empty")
    server.site.close()
    server.server.sql(f"DROP DATABASE {name}")
    assert restore_backup(database="empty").advice == ""
    assert outside(server, "empty") == before
    assert server.run("SELECT b FROM a", alias="empty") == [("Ä",)]


@pytest.mark.parametrize(
    "unknown",
    [{"collate": "xx_XX", "ctype": "xx_XX"}, {"encoding": "KLINGON"}, {"provider": "builtin", "locale": "xx"}],
    ids=["libc", "encoding", "builtin"],
)
def test_characters_that_the_server_does_not_know_are_reported(
    server: PostgreSQLServer, unknown: dict[str, str]
) -> None:
    """A backup of another machine: its data comes back, in the order of this one."""
    before = server.text()
    manifest = create_backup()
    engine = manifest.engine.model_copy(
        update={"characters": Characters(encoding="UTF8", collate="C", ctype="C").model_copy(update=unknown)}
    )
    rewritten = manifest.model_copy(update={"engine": engine})
    (server.site.backups / manifest.key).write_bytes(rewritten.to_json())
    server.site.close()
    server.server.sql(f"DROP DATABASE {server.databases['default']}")
    assert "made with this server's own encoding and collation" in restore_backup().advice
    fail_unless_equal(before, server.text())


def test_a_lost_database_needs_the_right_to_make_one(server: PostgreSQLServer) -> None:
    create_backup()
    role = server.role("small")
    server.site.close()
    server.server.sql(f"DROP DATABASE {server.databases['default']}")
    server.use(USER=role, PASSWORD="pw")
    with pytest.raises(RestoreRefused, match=r"does not exist.*may not create databases.*createdb"):
        restore_backup()


def test_a_receiver_that_leaves_its_connection_open_is_no_obstacle(server: PostgreSQLServer) -> None:
    """The scratch is ours: a session that is still in it when it becomes the database is ended."""
    create_backup()
    server.run("DELETE FROM book")
    with ExitStack() as opened:

        def look(scratch: Mapping[str, Any], **facts: Any) -> None:
            opened.enter_context(closing(server.server.connect(scratch["NAME"])))

        with received(look):
            restore_backup()
    assert server.count("book") == BOOKS


def test_our_own_pool_of_connections_is_closed(server: PostgreSQLServer) -> None:
    """Django's pool keeps connections on the server that are not in use: they would prevent the switch."""
    if not find_spec("psycopg_pool"):
        needs.missing("psycopg-pool is not installed")
    server.use(OPTIONS={"pool": {"min_size": 2, "max_size": 4}})
    create_backup()
    server.run("DELETE FROM book")
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT 1")
    try:
        restore_backup()
        assert server.count("book") == BOOKS
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT count(*) FROM book")
            assert cursor.fetchone() == (BOOKS,)
    finally:
        connections["default"].close()
        connections["default"].close_pool()
