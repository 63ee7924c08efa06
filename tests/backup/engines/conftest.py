"""The servers the engines are tested against: one of each major version this machine has; the scenes with canaries."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest

from django_cfg.backup.pipeline.encryption import encrypt
from tests.support import needs
from tests.support.canaries import Canaries, listening, watching
from tests.support.django_project import Site
from tests.support.gnupg_home import QUICK, Home, Laptop
from tests.support.mariadb_server import MariaDB
from tests.support.mysql_databases import MySQLServer
from tests.support.mysql_trial import FILL, Trial
from tests.support.notification_servers import load_apprise, mail_server, web_server
from tests.support.postgresql_databases import PostgreSQLServer
from tests.support.postgresql_server import PostgreSQL, postgresql_programs
from tests.support.s3_server import S3Server
from tests.support.secrets_places import EACH, ENGINES, STORAGES
from tests.support.secrets_scene import Scene
from tests.support.server_process import give_to_server


@pytest.fixture(scope="session", params=[0, -1], ids=["oldest", "newest"])
def postgresql(request: pytest.FixtureRequest) -> Iterator[PostgreSQL]:
    """A PostgreSQL server of the oldest, then of the newest major version on this machine."""
    programs = postgresql_programs()
    if request.param == -1 and len(programs) == 1:
        pytest.skip("this machine has only one major version of PostgreSQL")
    yield from _started(programs[request.param])


@pytest.fixture(scope="session")
def one_postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL server that tests may stop and start."""
    yield from _started(postgresql_programs()[0])


@pytest.fixture
def postgresql_server(site: Site, postgresql: PostgreSQL) -> Iterator[PostgreSQLServer]:
    """A project whose databases are on ``postgresql``: ``default``, filled, and ``empty``."""
    server = PostgreSQLServer(site, postgresql)
    yield server
    server.drop()


@pytest.fixture
def one_postgresql_server(site: Site, one_postgresql: PostgreSQL) -> Iterator[PostgreSQLServer]:
    """Likewise, on the server that tests may stop; it is started again if one has."""
    server = PostgreSQLServer(site, one_postgresql)
    yield server
    if not one_postgresql.is_running():
        one_postgresql.start()
    server.drop()


@pytest.fixture
def tls(one_postgresql_server: PostgreSQLServer) -> Iterator[PostgreSQLServer]:
    """A server with a certificate of its own making."""
    openssl, running = needs.program("openssl"), one_postgresql_server.server
    data = running.folder / "data"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
               "-keyout", data / "server.key", "-out", data / "server.crt"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    (data / "server.key").chmod(0o600)
    give_to_server(data)
    running.stop()
    running.start("ssl=on")
    yield one_postgresql_server
    running.stop()
    running.start()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """A MariaDB server."""
    yield from _mariadb_started()


@pytest.fixture(scope="session")
def one_mariadb() -> Iterator[MariaDB]:
    """A MariaDB server that tests may stop and start."""
    yield from _mariadb_started()


@pytest.fixture
def mysql_server(site: Site, mariadb: MariaDB) -> Iterator[MySQLServer]:
    """A project whose databases are on ``mariadb``: ``default``, filled, and ``empty``."""
    server = MySQLServer(site, mariadb)
    yield server
    if not mariadb.is_running():
        mariadb.start()
    server.drop()


@pytest.fixture
def one_mysql_server(site: Site, one_mariadb: MariaDB) -> Iterator[MySQLServer]:
    """Likewise, on the server that tests may stop; it is started again if one has."""
    server = MySQLServer(site, one_mariadb)
    yield server
    if not one_mariadb.is_running():
        one_mariadb.start()
    server.drop()


@pytest.fixture
def trial(mysql_server: MySQLServer) -> Trial:
    """A database with a backup, changed afterwards in all its kinds of objects."""
    mysql_server.script(FILL)
    return Trial(mysql_server)


@pytest.fixture
def another_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], AbstractContextManager[None]]:
    """In its block restores run as on another machine, which does not see the lock files of this one."""

    @contextmanager
    def there() -> Iterator[None]:
        with monkeypatch.context() as patch, TemporaryDirectory(dir=tmp_path) as folder:
            patch.setattr(tempfile, "tempdir", folder)
            yield

    return there


@pytest.fixture
def canaries() -> Canaries:
    return Canaries()


@pytest.fixture(scope="session")
def canary_s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server whose keys occur nowhere else."""
    keys = (f"canary{uuid4().hex}", f"canary{uuid4().hex}")
    server = S3Server(tmp_path_factory.mktemp("s3") / "server", keys=keys)
    yield server
    server.stop()


@pytest.fixture(params=EACH)
def pair(request: pytest.FixtureRequest) -> str:
    """An engine and a storage."""
    return str(request.param)


@pytest.fixture
def engine(pair: str) -> str:
    return pair.partition(" ")[0]


@pytest.fixture
def scene(
    request: pytest.FixtureRequest, site: Site, canaries: Canaries, pair: str, laptop: Laptop, server_home: Home,
    temporary: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Scene]:  # fmt: skip
    """A project on this pair, its every secret a canary. After the test everything is searched."""
    monkeypatch.setattr(encrypt, "_SLOW", (f"--{QUICK.replace(' ', '=')}",))  # nobody attacks these passphrases
    load_apprise()
    engine, _, storage = pair.partition(" ")
    server, place = ENGINES[engine](request, canaries), STORAGES[storage](request, canaries)
    with ExitStack() as stack:
        mailbox = stack.enter_context(mail_server(canaries.plant("mail password")))
        web = stack.enter_context(web_server())
        log = stack.enter_context(listening())
        watch = stack.enter_context(watching(canaries))
        scene = Scene(site, server, canaries, laptop, temporary, watch, log, place, mailbox, web)
        stack.callback(scene.close)
        scene.set_the_site()
        scene.configure()
        scene.listen()
        yield scene
    assert scene.finds(capfd) == []
    assert watch.sees, "no process was seen to be started"


def _mariadb_started() -> Iterator[MariaDB]:
    """In memory where that can be: it writes its tables' definitions through to the disk, whatever it is told."""
    with TemporaryDirectory(prefix="servers-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp") as folder:
        server = MariaDB(Path(folder) / "server")
        yield server
        server.stop(kill=True)


def _started(programs: Path) -> Iterator[PostgreSQL]:
    """A server in a folder of its own: another run of pytest closes pytest's folders to the server's user."""
    with TemporaryDirectory(prefix="servers-", dir="/tmp") as folder:
        server = PostgreSQL(programs, Path(folder) / "server")
        yield server
        server.stop("immediate")
