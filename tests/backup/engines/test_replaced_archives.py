"""An archive replaced under its manifest: not a byte of it runs on a server, in no form of restore or drill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from django_cfg.backup import create_backup, drill_backup, restore_backup
from django_cfg.backup.errors import BackupError, VerificationFailed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline import archive
from tests.support.databases import Server
from tests.support.django_project import Site
from tests.support.mysql_databases import MySQLServer
from tests.support.postgresql_databases import PostgreSQLServer

LONG = "x" * 300  # room for a statement in its place
WAYS: dict[str, Callable[[Manifest], Any]] = {
    "restore": lambda manifest: restore_backup(manifest.name),
    "restore of one table": lambda manifest: restore_backup(manifest.name, tables=["author"]),
    "restore in place": lambda manifest: restore_backup(manifest.name, in_place=True, discard_old=True),
    "drill": lambda manifest: drill_backup(manifest.name),
}
every_way = pytest.mark.parametrize("way", WAYS)


def fill(server: Server) -> None:
    """More than what a pipe holds, so that a client would run the beginning before the end was read."""
    server.site.configure(compression="none")
    server.run(
        "CREATE TABLE padding (id integer PRIMARY KEY, words varchar(4000))",
        *(f"INSERT INTO padding VALUES ({i}, '{chr(97 + i % 26) * 4000}')" for i in range(1500)),
    )


class PostgreSQL:
    """Its archive with the statement of a comment replaced by another one of the same length."""

    def __init__(self, server: PostgreSQLServer) -> None:
        self.server = server
        fill(server)
        server.run(f"COMMENT ON TABLE author IS '{LONG}'")

    def forged(self, data: bytes) -> bytes:
        genuine = f"COMMENT ON TABLE public.author IS '{LONG}'".encode()
        assert genuine in data
        return data.replace(genuine, self.statement.encode().ljust(len(genuine)))

    @property
    def statement(self) -> str:
        return f'COMMENT ON DATABASE "{self.server.databases["default"]}" IS $$it ran$$'

    def has_run(self) -> bool:
        return self.server.run(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
        ) == [("it ran",)]


class MySQL:
    """Its archive with a statement at its beginning, cut at its end."""

    def __init__(self, server: MySQLServer) -> None:
        self.server = server
        self.schema = f"{server.databases['default']}__ran"
        fill(server)

    def forged(self, data: bytes) -> bytes:
        at = data.index(b"DROP TABLE IF EXISTS")
        statement = f"CREATE DATABASE `{self.schema}`;\n".encode()
        return data[:at] + statement + data[at : -len(statement)]

    def has_run(self) -> bool:
        return bool(self.server.run(f"SHOW DATABASES LIKE '{self.schema}'"))


Attack = PostgreSQL | MySQL


def replace(attack: Attack, manifest: Manifest) -> None:
    path = attack.server.site.backups / manifest.archive_key
    data = path.read_bytes()
    forged = attack.forged(data)
    assert len(forged) == len(data) != 0
    assert forged != data
    path.write_bytes(forged)


class ReplacedArchives:
    @pytest.fixture
    def attack(self, site: Site) -> Attack:
        raise NotImplementedError

    @every_way
    def test_nothing_of_it_runs(self, attack: Attack, way: str) -> None:
        manifest = create_backup()
        replace(attack, manifest)
        with pytest.raises(VerificationFailed, match="SHA-256 differs"):
            WAYS[way](manifest)
        assert not attack.has_run()

    @every_way
    def test_nothing_of_it_runs_if_it_is_replaced_after_the_check(
        self, attack: Attack, way: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between the first reading and the second one."""
        manifest = create_backup()
        genuine, readings = archive.HashingReader, []

        class Replacing(genuine):  # type: ignore[misc, valid-type]
            """Replaces the archive when its first reading is at its end."""

            def read(self, size: int = -1) -> bytes:
                block: bytes = super().read(size)
                if not block and not readings and self.size == manifest.archive.size:
                    readings.append(self)
                    replace(attack, manifest)
                return block

        monkeypatch.setattr(archive, "HashingReader", Replacing)
        with pytest.raises(BackupError, match=r"changed while it was restored|SHA-256 differs"):
            WAYS[way](manifest)
        assert readings
        assert not attack.has_run()

    def test_a_trusted_storage_is_read_once(self, attack: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
        """The statement runs: that is what --trust-storage trusts in, and what shows that the other tests can fail."""
        manifest = create_backup()
        replace(attack, manifest)
        with pytest.raises(VerificationFailed, match="SHA-256 differs"):
            drill_backup(manifest.name, trust_storage=True)
        assert attack.has_run()
        if isinstance(attack, MySQL):
            attack.server.run(f"DROP DATABASE `{attack.schema}`")


class TestPostgreSQL(ReplacedArchives):
    @pytest.fixture
    def attack(self, postgresql_server: PostgreSQLServer) -> Attack:  # type: ignore[override]
        return PostgreSQL(postgresql_server)


class TestMySQL(ReplacedArchives):
    @pytest.fixture
    def attack(self, mysql_server: MySQLServer) -> Attack:  # type: ignore[override]
        return MySQL(mysql_server)
