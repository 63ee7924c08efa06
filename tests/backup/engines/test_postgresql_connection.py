"""The connection that settings.DATABASES describes is the one that is used: by the driver and by PostgreSQL's tools."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db.utils import load_backend

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines import engine_for
from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.postgresql.libpq import (
    build_conninfo,
    build_environment,
    get_connection_settings,
)
from django_cfg.backup.engines.postgresql.tools import choose_tools
from django_cfg.backup.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    ToolNotFound,
    ToolTooOld,
    UnsupportedEngine,
)
from tests.support.databases import BOOKS
from tests.support.postgresql_databases import PostgreSQLServer


@pytest.fixture
def server(postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
    return postgresql_server


def works(server: PostgreSQLServer) -> None:
    """Backup and restore come through, both the driver's part and the tools'."""
    create_backup()
    server.run("DELETE FROM book")
    server.site.close()
    restore_backup()
    assert server.count("book") == BOOKS


def test_a_unix_socket(server: PostgreSQLServer) -> None:
    server.use(HOST=str(server.server.folder))
    works(server)


@pytest.mark.parametrize("password", ["a b", 'it\'s "quoted" \\', "Pässwörd ☃", "%40 $HOME ;#"])
def test_any_password(server: PostgreSQLServer, password: str) -> None:
    role = server.role("clerk", "SUPERUSER LOGIN PASSWORD '" + password.replace("'", "''") + "'")
    server.use(USER=role, PASSWORD=password)
    works(server)


def test_odd_database_and_user_names(server: PostgreSQLServer) -> None:
    """Names that would be a connection string, or SQL, are just names."""
    name = f'it\'s host=nowhere; "x" ö {server.databases["default"]}'
    user = server.role('"u ser\'s"', "SUPERUSER LOGIN PASSWORD 'pw'").strip('"')
    quoted = '"' + name.replace('"', '""') + '"'
    server.server.sql(f"ALTER DATABASE {server.databases['default']} RENAME TO {quoted}")
    try:
        server.use(NAME=name, USER=user, PASSWORD="pw")
        create_backup()
        restore_backup()
    finally:
        server.site.close()
        server.server.sql(f"ALTER DATABASE {quoted} RENAME TO {server.databases['default']}")
    assert server.count("book") == BOOKS


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
    """A user named beside a service is the user: for the tools too, where a variable would lose to the service."""
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


def test_connection_overrides_the_settings(server: PostgreSQLServer) -> None:
    """A user, password and port of our own, where the site's would not do."""
    server.use(USER="nobody", PASSWORD="", PORT=1, OPTIONS={"sslmode": "require"})
    own = {"USER": "owner", "PASSWORD": "s3cret-owner", "PORT": server.server.port, "OPTIONS": {"sslmode": "prefer"}}
    server.site.configure(databases=[{"alias": "default", "connection": own}])
    works(server)


def test_the_password_of_a_key_is_refused() -> None:
    settings = {"ENGINE": "django.db.backends.postgresql", "NAME": "x", "OPTIONS": {"sslpassword": "hush"}}
    with pytest.raises(ConfigurationError, match="sslpassword") as refusal:
        build_environment(settings)
    assert "hush" not in str(refusal.value)


def test_tls(tls: PostgreSQLServer) -> None:
    """Both connections are encrypted, and a certificate that is not trusted is refused when it has to be."""
    tls.run("ALTER TABLE book ADD COLUMN tls boolean")
    tls.use(OPTIONS={"sslmode": "require"})
    works(tls)
    tls.use(HOST="localhost", OPTIONS={"sslmode": "verify-full", "sslrootcert": "/nowhere/root.crt"})
    with pytest.raises(DatabaseUnavailable, match=r"(?s)root\.crt.*Check sslmode"):
        create_backup()
    shutil.copy(tls.server.folder / "data" / "server.crt", tls.site.root / "root.crt")
    options = {"sslmode": "verify-full", "sslrootcert": str(tls.site.root / "root.crt")}
    tls.use(HOST="localhost", OPTIONS=options)
    works(tls)


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
    """Folders with a pg_dump that does nothing but tell its version."""
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


@pytest.mark.parametrize("script", [None, "#!/bin/sh\nexit 1\n", "#!/bin/sh\necho something else\n", "no script"])
def test_what_does_not_run_is_no_tool(tmp_path: Path, script: str | None) -> None:
    if script is not None:
        (tmp_path / "pg_dump").write_text(script)
        (tmp_path / "pg_dump").chmod(0o755)
    with pytest.raises(ToolNotFound, match=r"^To test, .*install postgresql-client-16"):
        choose_tools(16, str(tmp_path), "To test")


def test_nobody_waits_for_minutes_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    def timeout(**options: object) -> object:
        return get_connection_settings(Database("default", {"NAME": "x", "OPTIONS": options}))["OPTIONS"].get(
            "connect_timeout"
        )

    assert timeout() == 10
    assert timeout(connect_timeout=99) == 99
    assert timeout(service="site") is None
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "3")
    assert timeout() is None
