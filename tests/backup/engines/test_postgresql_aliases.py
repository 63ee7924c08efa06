"""Two aliases of one database are one, however its place is spelt; two databases never are."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.db import connections

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.postgresql import PostgreSQLEngine, libpq
from django_cfg.backup.services.project.project import current_project
from tests.support.databases import BOOKS
from tests.support.postgresql_databases import PostgreSQLServer


def identity(**settings: object) -> str:
    return PostgreSQLEngine(Database("x", {"NAME": "a", **settings})).identity


def test_spellings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PGHOST", "PGPORT", "PGHOSTADDR", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    assert identity(HOST="h") == identity(HOST="H", PORT="5432") == identity(HOST="h", PORT=5432, USER="u")
    assert identity(HOST="h") == identity(OPTIONS={"host": "h"}) == identity(HOST="h", OPTIONS={"sslmode": "require"})
    assert identity(HOST=f"{tmp_path}/") == identity(HOST=str(tmp_path))
    different = [{}, {"HOST": "h"}, {"HOST": "localhost"}, {"HOST": "h", "PORT": 1}, {"HOST": "h", "NAME": "b"},
                 {"HOST": "h", "OPTIONS": {"service": "s"}}, {"OPTIONS": {"service": "s"}}]  # fmt: skip
    assert len({identity(**settings) for settings in different}) == len(different)


def test_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "h")
    monkeypatch.setenv("PGPORT", "1")
    assert identity() == identity(HOST="h", PORT="1")
    assert identity(PORT="") != identity(PORT="5432")


def test_the_usual_socket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of several folders that a server may listen in, only one that is alone is sure to be meant."""
    monkeypatch.delenv("PGHOST", raising=False)
    folders = [tmp_path / "one", tmp_path / "two"]
    monkeypatch.setattr(libpq, "_SOCKETS", tuple(map(str, folders)))
    for folder in folders:
        folder.mkdir()
    (folders[0] / ".s.PGSQL.5432").touch()
    assert identity() == identity(HOST=str(folders[0]))
    (folders[1] / ".s.PGSQL.5432").touch()
    assert identity() not in (identity(HOST=str(folder)) for folder in folders)


def test_one_database_of_two_aliases(postgresql_server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is backed up once, and our own connection under the other alias does not stand in a restore's way."""
    server = postgresql_server
    monkeypatch.setenv("PGPORT", str(server.server.port))
    name, settings = server.databases["default"], server.server.settings
    server.site.use_databases(default=settings(name), twin=settings(name, PORT=""))
    assert current_project().aliases() == ["default"]
    create_backup()
    server.run("DELETE FROM book")
    with connections["twin"].cursor() as cursor:
        cursor.execute("SELECT 1")
    restore_backup()
    assert server.count("book") == BOOKS
