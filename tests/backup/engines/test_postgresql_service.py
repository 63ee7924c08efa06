"""A service file says what the settings leave open, and outranks none of them, for PostgreSQL's programs too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.postgresql import connection, psql_session, tools
from django_cfg.backup.engines.postgresql.libpq import build_conninfo
from django_cfg.backup.errors import ConfigurationError
from django_cfg.backup.services.project.project import current_project
from tests.support.databases import BOOKS
from tests.support.postgresql_databases import PostgreSQLServer

NOTHING = {"NAME": "", "USER": "", "PASSWORD": "", "HOST": "", "PORT": ""}
Service = Callable[..., None]


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    """Writes the service ``books``."""

    def write(**parameters: Any) -> None:
        lines = [f"{name}={value}\n" for name, value in parameters.items()]
        (tmp_path / "services").write_text("[books]\n" + "".join(lines))
        monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))

    return write


def asked(server: PostgreSQLServer, query: str) -> object:
    """What psql answers, connected as restores connect it."""
    database = current_project().database("default")
    with psql_session.open_psql(
        database, tools.choose_tools(server.server.major, database.tools_dir, "To test")
    ) as session:
        session.begin(lambda name: None)
        return session.fetch_value(query)


def works(server: PostgreSQLServer) -> None:
    create_backup()
    for in_place in (False, True):
        server.run("DELETE FROM book")
        restore_backup(in_place=in_place, discard_old=in_place)
        assert server.count("book") == BOOKS


def test_a_password_of_the_settings(postgresql_server: PostgreSQLServer, service: Service) -> None:
    server = postgresql_server
    service(password="another", user="absent", port=1, dbname="none")
    server.use(OPTIONS={"service": "books"})
    works(server)


def test_a_password_of_the_options(postgresql_server: PostgreSQLServer) -> None:
    server = postgresql_server
    server.use(PASSWORD="", OPTIONS={"password": "s3cret-owner"})
    works(server)


@pytest.mark.parametrize("named_by", ["OPTIONS", "PGSERVICE"])
def test_all_of_a_service(
    postgresql_server: PostgreSQLServer, service: Service, monkeypatch: pytest.MonkeyPatch, named_by: str
) -> None:
    """Also its password, which is in no command line, and what only older or newer libraries know."""
    server = postgresql_server
    service(
        host="127.0.0.1", port=server.server.port, user="owner", password="s3cret-owner",
        dbname=server.databases["default"], options="-c work_mem=7MB",
    )  # fmt: skip
    if named_by == "PGSERVICE":
        monkeypatch.setenv("PGSERVICE", "books")
        server.use(USER="", PASSWORD="", HOST="", PORT="")
    else:
        server.use(**NOTHING, OPTIONS={"service": "books"})
    works(server)
    assert asked(server, "SELECT current_setting('work_mem')") == "7MB"
    found = build_conninfo(connection.get_program_settings(current_project().database("default")))
    assert "s3cret" not in found
    assert "service" not in found


def test_options_of_the_settings(postgresql_server: PostgreSQLServer, service: Service) -> None:
    service(options="-c work_mem=9MB")
    postgresql_server.use(OPTIONS={"service": "books", "options": "-c work_mem=7MB"})
    assert asked(postgresql_server, "SELECT current_setting('work_mem')") == "7MB"


def test_a_service_does_not_weaken_tls(tls_postgresql_server: PostgreSQLServer, service: Service) -> None:
    """The archive goes over the same kind of connection as the driver's questions."""
    service(sslmode="disable")
    tls_postgresql_server.use(OPTIONS={"service": "books"})
    assert asked(tls_postgresql_server, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") is False
    tls_postgresql_server.use(OPTIONS={"service": "books", "sslmode": "require"})
    assert asked(tls_postgresql_server, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") is True
    works(tls_postgresql_server)


def test_the_password_of_a_key_in_a_service_is_refused(postgresql_server: PostgreSQLServer, service: Service) -> None:
    service(sslpassword="hush")
    postgresql_server.use(OPTIONS={"service": "books"})
    with pytest.raises(ConfigurationError, match="sslpassword, of OPTIONS or a service file") as refusal:
        create_backup()
    assert "hush" not in str(refusal.value)


def test_a_database_that_options_name(postgresql_server: PostgreSQLServer) -> None:
    """With Django's driver OPTIONS outrank NAME: the scratch is not the target all the same."""
    server = postgresql_server
    server.use(OPTIONS={"dbname": server.databases["default"]})
    server.site.configure(databases=[{"alias": "default"}])
    works(server)
