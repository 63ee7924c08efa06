"""The connection that settings.DATABASES describes is the one that is used: by the driver and by PostgreSQL's tools."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db.utils import load_backend

from django_cfg.backup import create_backup
from django_cfg.backup.engines import engine_for
from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.postgresql.libpq import (
    build_conninfo,
    build_environment,
    get_connection_settings,
)
from django_cfg.backup.engines.postgresql.tools import choose_tools
from django_cfg.backup.errors import (
    DatabaseUnavailable,
    ToolTooOld,
    UnsupportedEngine,
)
from tests.backup.engines.connection_contract import PASSWORDS, ConnectionContract, works
from tests.support.databases import DatabaseServer
from tests.support.postgresql_databases import PostgreSQLServer


@pytest.fixture
def server(postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
    return postgresql_server


class TestConnection(ConnectionContract):
    passwords = (*PASSWORDS, "Pässwörd ☃")
    database_names = ('it\'s host=nowhere; "x" ö', "--version", "%_")
    site_options = {"sslmode": "require"}
    own_options = {"sslmode": "prefer"}
    key_password = "sslpassword"
    program = "pg_dump"
    missing_program = ".*install postgresql-client-16"

    @pytest.fixture
    def server(self, postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
        return postgresql_server

    @pytest.fixture
    def tls(self, tls_postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
        return tls_postgresql_server

    def sockets(self, server: DatabaseServer) -> Iterator[dict[str, Any]]:
        yield {"HOST": str(server.server.folder)}

    @contextmanager
    def named(self, server: DatabaseServer, name: str) -> Iterator[None]:
        databases = server.databases
        quoted = '"' + name.replace('"', '""') + '"'
        server.server.sql(f"ALTER DATABASE {databases['default']} RENAME TO {quoted}")
        server.databases = {**databases, "default": name}
        try:
            yield
        finally:
            server.site.close()
            server.databases = databases
            server.server.sql(f"ALTER DATABASE {quoted} RENAME TO {databases['default']}")

    def trusted(self, tls: DatabaseServer) -> Iterator[dict[str, Any]]:
        yield {"OPTIONS": {"sslmode": "require"}}
        certificate = tls.site.root / "root.crt"
        shutil.copy(tls.server.folder / "data" / "server.crt", certificate)
        yield {"HOST": "localhost", "OPTIONS": {"sslmode": "verify-full", "sslrootcert": str(certificate)}}

    def untrusted(self, tls: DatabaseServer) -> Iterator[tuple[dict[str, Any], str]]:
        options = {"sslmode": "verify-full", "sslrootcert": "/nowhere/root.crt"}
        yield {"HOST": "localhost", "OPTIONS": options}, r"root\.crt.*Check sslmode"

    def read_settings(self, settings: Mapping[str, Any]) -> object:
        return build_environment({"ENGINE": "django.db.backends.postgresql", **settings})

    def find_program(self, folder: Path) -> object:
        return choose_tools(16, str(folder), "To test")


def test_a_search_path_in_options(server: PostgreSQLServer) -> None:
    """It reaches the driver (the migrations are looked up by it), and confuses neither dump nor restore."""
    server.run("CREATE SCHEMA own", "CREATE TABLE own.django_migrations (id int, app text, name text)",
               "INSERT INTO own.django_migrations VALUES (1, 'shop', '0001_initial')")  # fmt: skip
    server.use(OPTIONS={"options": "-c search_path=own,public -c statement_timeout=0"})
    assert create_backup().migrations == {"shop": ("0001_initial",)}
    works(server)


@pytest.fixture
def service(server: PostgreSQLServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service file that says where the server is and who we are, and a passfile with the password."""
    passfile = tmp_path / "passfile"
    passfile.write_text("127.0.0.1:*:*:owner:s3cret-owner\n")
    passfile.chmod(0o600)
    (tmp_path / "services").write_text(
        f"[books]\nhost=127.0.0.1\nport={server.server.port}\nuser=owner\npassfile={passfile}\n"
        f"dbname={server.databases['default']}\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))


@pytest.mark.usefixtures("service")
def test_a_service_and_a_passfile(server: PostgreSQLServer) -> None:
    nothing = {"NAME": "", "USER": "", "PASSWORD": "", "HOST": "", "PORT": ""}
    server.use(**nothing, OPTIONS={"service": "books"})
    works(server)


@pytest.mark.usefixtures("service")
def test_settings_outrank_a_service(server: PostgreSQLServer) -> None:
    """A user named next to a service is the user: for the tools too, where a variable would lose to the service."""
    role = server.role("weak")
    server.use(USER=role, PASSWORD="pw", OPTIONS={"service": "books"})
    with pytest.raises(DatabaseUnavailable, match=f"'{role}' may not read"):
        create_backup()
    server.server.sql(f"GRANT pg_read_all_data TO {role}")
    create_backup()
    assert f"user='{role}'" in build_conninfo(server.server.settings("x", USER=role))


def test_the_environment_fills_what_the_settings_leave_open(
    server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PGHOST and its like mean the same to the tools as to Django's driver."""
    for name, value in server.environment().items():
        if name.startswith("PG"):
            monkeypatch.setenv(name, value)
    server.use(USER="", PASSWORD="", HOST="", PORT="")
    works(server)


def test_a_pool_is_not_for_us(server: PostgreSQLServer) -> None:
    """Our connections are our own, whether psycopg_pool is installed or not."""
    server.site.configure(databases=[{"alias": "default", "connection": {"OPTIONS": {"pool": True}}}])
    works(server)


def test_an_assumed_role(server: PostgreSQLServer) -> None:
    """Dump and restore act as the role, not as the login."""
    role = server.role("acting", "NOLOGIN")
    server.use(OPTIONS={"assume_role": role})
    with pytest.raises(DatabaseUnavailable, match=f"'{role}' may not read"):
        create_backup()
    server.run(f"ALTER TABLE book OWNER TO {role}", f"ALTER TABLE author OWNER TO {role}")
    server.server.sql(f"ALTER DATABASE {server.databases['default']} OWNER TO {role}")
    works(server)
    assert server.run("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'") == [(role,)]


def test_postgis_is_postgresql() -> None:
    """Importing Django's backend needs GDAL: where that is missing, it is said."""
    database = Database("default", {"ENGINE": "django.contrib.gis.db.backends.postgis", "NAME": "x"})
    try:
        load_backend(database.settings["ENGINE"])
    except ImproperlyConfigured:
        with pytest.raises(UnsupportedEngine, match=r"postgis' of the database 'default' cannot be loaded.*GDAL"):
            engine_for(database)
    else:
        assert engine_for(database).name == "PostgreSQL"


# --- which tools


def tools(folder: Path, *versions: str) -> list[Path]:
    """Folders with a pg_dump that does nothing but print its version."""
    made = []
    for version in versions:
        home = folder / version / "bin"
        home.mkdir(parents=True)
        (home / "pg_dump").write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {version} (Debian {version}-1)'\n")
        (home / "pg_dump").chmod(0o755)
        made.append(home)
    return made


@pytest.mark.parametrize(
    ("wanted", "chosen"), [(15, "15.4"), (16, "17.2"), (14, "14.9"), (12, "14.9"), (17, "17.2"), (18, "18beta1")]
)
def test_the_servers_own_major_or_the_next_newer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: int, chosen: str
) -> None:
    folders = tools(tmp_path, "17.2", "14.9", "18beta1", "15.4")
    monkeypatch.setattr("django_cfg.backup.engines.postgresql.tools._list_usual_folders", lambda: folders)
    assert choose_tools(wanted, None, "To test").version == chosen


def test_older_tools_are_no_tools(tmp_path: Path) -> None:
    (folder,) = tools(tmp_path, "15.4")
    with pytest.raises(ToolTooOld, match=r"^To test, .*PostgreSQL 16.*15\.4.*install postgresql-client-16"):
        choose_tools(16, str(folder), "To test")


def test_a_connection_is_not_waited_for_for_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    def timeout(**options: object) -> object:
        return get_connection_settings(Database("default", {"NAME": "x", "OPTIONS": options}))["OPTIONS"].get(
            "connect_timeout"
        )

    assert timeout() == 10
    assert timeout(connect_timeout=99) == 99
    assert timeout(service="site") is None
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "3")
    assert timeout() is None
