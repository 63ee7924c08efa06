"""The engines and the storages on which nothing secret may show: each has a canary wherever it knows a secret."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from tests.support.canaries import Canaries
from tests.support.databases import Server
from tests.support.django_project import Site
from tests.support.gcs_server import GCSServer
from tests.support.mysql_databases import MySQLServer
from tests.support.postgresql_databases import PostgreSQLServer
from tests.support.rclone_remotes import PASSWORD, WebDAVServer
from tests.support.s3_server import S3Server
from tests.support.sqlite_databases import SQLiteServer


@dataclass(frozen=True)
class Place:
    """Where the backups go."""

    parameters: dict[str, Any]  # of BackupStorageConfig
    folder: Path  # the objects, as files


def sqlite(request: pytest.FixtureRequest, canaries: Canaries) -> Server:
    """It has no password; that of the other secrets is the same."""
    return SQLiteServer(request.getfixturevalue("site"), "wal")


def postgresql(request: pytest.FixtureRequest, canaries: Canaries) -> Server:
    server: PostgreSQLServer = request.getfixturevalue("own_postgresql_server")
    password = canaries.plant("database password")
    role = server.role("canary", f"LOGIN SUPERUSER PASSWORD '{password}'")
    server.use(USER=role, PASSWORD=password)
    call_command("migrate", "django_cfg_backup", verbosity=0)
    return server


def mysql(request: pytest.FixtureRequest, canaries: Canaries) -> Server:
    server: MySQLServer = request.getfixturevalue("own_mysql_server")
    password = canaries.plant("database password")
    user = server.user("canary@'%'", "ALL ON *.*", password=password)
    server.use(USER=user.partition("@")[0], PASSWORD=password)
    call_command("migrate", "django_cfg_backup", verbosity=0)
    return server


def local(request: pytest.FixtureRequest, canaries: Canaries) -> Place:
    """It needs none of the keys, and they may be in the configuration all the same."""
    site: Site = request.getfixturevalue("site")
    keys = {"s3_access_key": canaries.plant("S3 access key"), "s3_secret_key": canaries.plant("S3 secret key")}
    return Place(keys, site.backups)


def s3(request: pytest.FixtureRequest, canaries: Canaries) -> Place:
    server: S3Server = request.getfixturevalue("canary_s3_server")
    canaries.values |= dict(zip(("S3 access key", "S3 secret key"), server.keys, strict=True))
    bucket = server.new_bucket()
    token = canaries.plant("S3 session token")
    return Place({**server.parameters(bucket), "s3_session_token": token}, server.data / bucket / "db-backups")


def gcs(request: pytest.FixtureRequest, canaries: Canaries) -> Place:
    server: GCSServer = request.getfixturevalue("gcs_server")
    key = json.loads(server.credentials)
    canaries.values["private key"] = key["private_key"].splitlines()[1]
    key["private_key_id"] = canaries.plant("number of the private key")
    bucket = server.server.new_bucket()
    parameters = {**server.parameters(bucket), "gcs_credentials": json.dumps(key)}
    return Place(parameters, server.server.data / bucket / "db-backups")


def rclone(request: pytest.FixtureRequest, canaries: Canaries) -> Place:
    server: WebDAVServer = request.getfixturevalue("webdav_server")
    canaries.values["password of the remote"] = PASSWORD
    canaries.values["password in rclone.conf"] = server.config.read_text().rpartition("pass = ")[2].strip()
    path = server.new_path()
    return Place(server.parameters(path), server.data / path.strip("/"))


# Another engine or storage joins with a line.
ENGINES: dict[str, Callable[[pytest.FixtureRequest, Canaries], Server]] = {
    "sqlite": sqlite,
    "postgresql": postgresql,
    "mysql": mysql,
}
STORAGES: dict[str, Callable[[pytest.FixtureRequest, Canaries], Place]] = {
    "local": local,
    "s3": s3,
    "gcs": gcs,
    "rclone": rclone,
}
_SERVERS = {
    "postgresql": "own_postgresql_server",
    "mysql": "own_mysql_server",
    "gcs": "gcs_server",
    "rclone": "webdav_server",
}


class Pair(str):
    """An engine and a storage, and the fixtures that they ask for."""

    @property
    def fixtures(self) -> tuple[str, ...]:
        return tuple(_SERVERS[name] for name in self.split() if name in _SERVERS)


# Not every pair in every test: an engine does not know where its dump goes.
ALL = [Pair(f"{engine} {storage}") for engine in ENGINES for storage in ("local", "s3")]
ENGINES_ALONE = [Pair(f"{engine} local") for engine in ENGINES]
STORAGES_ALONE = [Pair(f"sqlite {storage}") for storage in STORAGES]
EACH = [*ENGINES_ALONE, Pair("sqlite s3")]  # every engine, and every storage


def on(pairs: list[str]) -> pytest.MarkDecorator:
    """Let a test be made on these pairs of an engine and a storage."""
    return pytest.mark.parametrize("pair", [Pair(pair) for pair in pairs], indirect=True)
