"""What tests of backups need of the machine around them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import django
import pytest

from tests.support import needs, processes
from tests.support.azurite import Azurite
from tests.support.django_project import ADMINS, Site
from tests.support.gcs_server import GCSServer
from tests.support.gnupg_home import Home, Laptop
from tests.support.moto_server import MotoServer
from tests.support.processes import wait_until
from tests.support.rclone_remotes import FolderRemote, SFTPServer, WebDAVServer
from tests.support.redis_server import RedisServer
from tests.support.s3_server import S3Server
from tests.support.unprivileged import UNPRIVILEGED_UID, Unprivileged
from tests.support.worker_fleet import Fleet, MakeFleet, fleet


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server for all tests of the session; each test makes its own bucket."""
    server = S3Server(tmp_path_factory.mktemp("s3") / "server")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GCSServer]:
    server = GCSServer(tmp_path_factory.mktemp("gcs"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    server = Azurite(tmp_path_factory.mktemp("azurite"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def rclone_folder(tmp_path_factory: pytest.TempPathFactory) -> FolderRemote:
    return FolderRemote(tmp_path_factory.mktemp("folder"))


@pytest.fixture(scope="session")
def sftp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SFTPServer]:
    server = SFTPServer(tmp_path_factory.mktemp("sftp"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    """An S3 server with versions and object lock; each test makes its own bucket."""
    server = MotoServer(tmp_path_factory.mktemp("moto"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def webdav_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDAVServer]:
    server = WebDAVServer(tmp_path_factory.mktemp("webdav"))
    yield server
    server.stop()


@pytest.fixture
def caching_s3_server(tmp_path: Path) -> Iterator[S3Server]:
    """One that caches listings of folders: otherwise it would list a large folder again for each request."""
    server = S3Server(tmp_path / "s3", "--dir-cache-time=5m")
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def rq_fleet(tmp_path: Path, migrated_database: Path, redis_server: RedisServer) -> MakeFleet:
    """Open the project of the test, with workers of RQ in processes of their own: with *options* of a fleet."""

    def open_fleet(database: Path = migrated_database, **options: Any) -> AbstractContextManager[Fleet]:
        return fleet(tmp_path / "project", database, redis_server, **options)

    return open_fleet


@pytest.fixture
def nothing_left_running() -> Iterator[None]:
    """Assert that the test leaves no thread and no child process, even when it fails."""
    threads, children = processes.threads(), processes.children()
    yield
    assert processes.threads() <= threads
    assert processes.children() <= children


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB of its own: full is really full."""
    needs.root()
    folder = tmp_path / "small_disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter and write in; those of ``tmp_path`` are closed to them."""
    with TemporaryDirectory(prefix="open-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


@pytest.fixture
def unprivileged() -> Unprivileged:
    """A block in which file permissions apply: root becomes an unprivileged user for its length."""

    @contextmanager
    def as_unprivileged_user() -> Iterator[None]:
        if os.geteuid() != 0:
            yield
            return
        os.seteuid(UNPRIVILEGED_UID)
        try:
            yield
        finally:
            os.seteuid(0)

    return as_unprivileged_user


@pytest.fixture(scope="session")
def laptop() -> Iterator[Laptop]:
    """Private keys on another machine."""
    laptop = Laptop.make()
    yield laptop
    laptop.home.remove()


@pytest.fixture
def server_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """The keyring of the user who makes the backups: empty, and where gpg looks for it."""
    home = Home()
    monkeypatch.setenv("GNUPGHOME", str(home.folder))
    yield home
    home.remove()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go, on a path that is short enough for gpg."""
    folder = Path(mkdtemp(prefix="t-", dir="/tmp"))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield folder

    def is_removed() -> bool:
        """A thread that nothing waits for may still remove a folder of its own in it."""
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()

    wait_until(is_removed)


@pytest.fixture
def notified(site: Site) -> None:
    """A recipient of failure mail is configured; no test that uses this sends any."""
    site.set(ADMINS=ADMINS)


@pytest.fixture
def fresh_tasks() -> Iterator[None]:
    """Django reads settings.TASKS once: now, and again after the test."""
    forget_tasks()
    yield
    forget_tasks()


def forget_tasks() -> None:
    module = import_module("django.tasks" if django.VERSION >= (6, 0) else "django_tasks")
    backends = module.task_backends
    backends._settings = None
    backends.__dict__.pop("settings", None)
    if hasattr(backends._connections, "default"):
        del backends._connections.default
    sys.modules.pop("django_cfg.backup.django_tasks", None)
