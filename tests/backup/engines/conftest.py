"""The servers the engines are tested against: one of each major version this machine has; the scenes with canaries."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest

from tests.support.canaries import Canaries, listening, watching
from tests.support.django_project import Site
from tests.support.gnupg_home import Home, Laptop, make_passphrases_quick
from tests.support.mysql_databases import MySQLServer
from tests.support.mysql_trial import FILL, Trial
from tests.support.notification_servers import load_apprise, mail_server, web_server
from tests.support.s3_server import S3Server
from tests.support.secrets_places import EACH, ENGINES, STORAGES
from tests.support.secrets_scene import Scene


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
    make_passphrases_quick(monkeypatch)
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
