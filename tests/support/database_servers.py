"""The fixtures of the database servers: of each vendor one that all workers share, and one that a worker has alone.

A test on a shared server has databases and users of its own, and changes nothing that others see. One that stops the
server, changes its settings or needs a fixed name on it takes the worker's own.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.support import needs, run_folder
from tests.support.databases import FILL
from tests.support.django_project import Site
from tests.support.mariadb_server import MariaDB
from tests.support.mysql_databases import MySQLServer
from tests.support.postgresql_databases import TEMPLATE, PostgreSQLServer
from tests.support.postgresql_server import PostgreSQL, postgresql_programs
from tests.support.run_folder import RunFolder
from tests.support.server_process import give_to_server

# For a test, a class or a module: what depends on the version of the server is tried on the oldest and on the newest.
on_every_postgresql = pytest.mark.parametrize("postgresql", ["oldest", "newest"], indirect=True, scope="session")


@pytest.fixture(scope="session")
def run(pytestconfig: pytest.Config) -> RunFolder:
    """The folder that the workers of this run share."""
    return run_folder.of(pytestconfig)


@pytest.fixture(scope="session")
def postgresql(request: pytest.FixtureRequest, run: RunFolder) -> PostgreSQL:
    """The PostgreSQL server of the newest major version on this machine, or of the one that the test asks for."""
    programs = postgresql_programs()
    version = getattr(request, "param", "newest")
    if version == "oldest" and len(programs) == 1:
        pytest.skip("this machine has only one major version of PostgreSQL")
    with run.locked(f"postgresql-{version}") as folder:
        if not folder.exists():
            try:
                fill(PostgreSQL(programs[0 if version == "oldest" else -1], folder))
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        return PostgreSQL(programs[0 if version == "oldest" else -1], folder)


@pytest.fixture(scope="session")
def own_postgresql(run: RunFolder) -> Iterator[PostgreSQL]:
    """A PostgreSQL server that tests may stop and start: the oldest, which is Debian's and knows TLS."""
    server = PostgreSQL(postgresql_programs()[0], run.new("postgresql"))
    fill(server)
    yield server
    server.stop("immediate")


@pytest.fixture
def postgresql_server(site: Site, postgresql: PostgreSQL) -> Iterator[PostgreSQLServer]:
    """A project whose databases are on ``postgresql``: ``default``, filled, and ``empty``."""
    server = PostgreSQLServer(site, postgresql)
    yield server
    server.drop()


@pytest.fixture
def own_postgresql_server(site: Site, own_postgresql: PostgreSQL) -> Iterator[PostgreSQLServer]:
    """Likewise, on the server that tests may stop; it is started again if one has."""
    own_postgresql.start_unless_it_answers()
    server = PostgreSQLServer(site, own_postgresql)
    yield server
    if not own_postgresql.is_running():
        own_postgresql.start()
    server.drop()


@pytest.fixture(scope="session")
def mariadb(run: RunFolder) -> MariaDB:
    """A MariaDB server."""
    with run.locked("mariadb") as folder:
        try:
            return MariaDB(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


@pytest.fixture(scope="session")
def own_mariadb(run: RunFolder) -> Iterator[MariaDB]:
    """A MariaDB server that tests may stop and start."""
    server = MariaDB(run.new("mariadb"))
    yield server
    server.stop(kill=True)


@pytest.fixture
def mysql_server(site: Site, mariadb: MariaDB, run: RunFolder) -> Iterator[MySQLServer]:
    """A project whose databases are on ``mariadb``: ``default``, filled, and ``empty``."""
    with run.locked("mariadb"):
        if not mariadb.is_running():
            mariadb.start_again()
    server = MySQLServer(site, mariadb)
    yield server
    server.drop()


@pytest.fixture
def own_mysql_server(site: Site, own_mariadb: MariaDB) -> Iterator[MySQLServer]:
    """Likewise, on the server that tests may stop; it is started again if one has."""
    if not own_mariadb.is_running():
        own_mariadb.start_again()
    server = MySQLServer(site, own_mariadb)
    yield server
    if not own_mariadb.is_running():
        own_mariadb.start()
    server.drop()


def fill(server: PostgreSQL) -> None:
    """Make the database that the tests' own are copies of."""
    server.sql(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0")
    server.sql(*FILL, database=TEMPLATE)


@pytest.fixture
def tls_postgresql_server(own_postgresql_server: PostgreSQLServer) -> Iterator[PostgreSQLServer]:
    """A server with a certificate of its own making."""
    openssl, running = needs.program("openssl"), own_postgresql_server.server
    data = running.folder / "data"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
               "-keyout", data / "server.key", "-out", data / "server.crt"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    (data / "server.key").chmod(0o600)
    give_to_server(data)
    running.stop()
    running.start("ssl=on")
    yield own_postgresql_server
    running.stop()
    running.start()
