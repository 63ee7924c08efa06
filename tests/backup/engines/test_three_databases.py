"""One project with a database of each kind, backed up into one bucket and brought back: the guide's third example."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_cfg.backup import list_backups, restore_backup
from tests.support.databases import BOOKS
from tests.support.django_project import Site
from tests.support.mariadb_server import MariaDB, mariadb_program
from tests.support.mysql_databases import MySQLServer
from tests.support.postgresql_databases import PostgreSQLServer
from tests.support.postgresql_server import PostgreSQL
from tests.support.rclone_remotes import SFTPServer
from tests.support.s3_server import S3Server

ALIASES = ["analytics", "default", "local"]


class Shop:
    """``default`` on PostgreSQL, ``analytics`` on MariaDB, ``local`` in a SQLite file."""

    def __init__(self, site: Site, postgresql: PostgreSQL, mariadb: MariaDB) -> None:
        self.site = site
        self.file = site.root / "local.sqlite3"
        self._postgresql, self._mariadb = PostgreSQLServer(site, postgresql), MySQLServer(site, mariadb)
        site.sql("CREATE TABLE book (id integer PRIMARY KEY, title text)", database=self.file)
        site.sql(*(f"INSERT INTO book VALUES ({i}, 'Book {i}')" for i in range(BOOKS)), database=self.file)
        site.use_databases(
            default=postgresql.settings(self._postgresql.databases["default"]),
            analytics=mariadb.settings(self._mariadb.databases["default"]),
            local={"ENGINE": "django.db.backends.sqlite3", "NAME": str(self.file)},
        )

    def run(self, statement: str) -> list[object]:
        """In each database; the first value each gave."""
        found = (
            self._postgresql.run(statement),
            self._mariadb.run(statement),
            self.site.sql(statement, database=self.file),
        )
        return [rows[0][0] if rows else None for rows in found]

    def drop(self) -> None:
        self._postgresql.drop()
        self._mariadb.drop()


@pytest.fixture
def shop(site: Site, own_postgresql: PostgreSQL, mariadb: MariaDB, s3_server: S3Server) -> Iterator[Shop]:
    own_postgresql.start_unless_it_answers()
    shop = Shop(site, own_postgresql, mariadb)
    site.always["tools_dir"] = f"{own_postgresql.programs}:{Path(mariadb_program('mariadb')).parent}"
    site.configure(storage=s3_server.config(s3_server.new_bucket()))
    yield shop
    shop.drop()


def test_all_are_backed_up_and_brought_back(shop: Shop) -> None:
    assert shop.site.call("backup_create").code == 0
    assert sorted(manifest.source.database for manifest in list_backups()) == ALIASES
    shop.run("DELETE FROM book")
    shop.site.close()
    for alias in ALIASES:
        restore_backup(database=alias)
    assert shop.run("SELECT count(*) FROM book") == [BOOKS] * 3


PLACES = ("main", "bucket", "sftp")


@pytest.mark.parametrize("left", PLACES)
def test_each_place_alone_brings_all_back(shop: Shop, s3_server: S3Server, sftp_server: SFTPServer, left: str) -> None:
    """From one dump of each; by several programs where that is possible."""
    main, bucket, path = shop.site.root / "backups", s3_server.new_bucket(), sftp_server.new_path()
    copies = [
        {"name": "bucket", "storage": s3_server.config(bucket)},
        {"name": "sftp", "storage": sftp_server.parameters(path)},
    ]
    shop.site.configure(storage={"local_path": str(main)}, copies=copies, dump_jobs=2)
    assert shop.site.call("backup_create").code == 0
    roots = dict(zip(PLACES, (main, s3_server.data / bucket / "db-backups", Path(path)), strict=True))
    contents = [{path.name: path.read_bytes() for path in root.iterdir()} for root in roots.values()]
    assert contents[0] == contents[1] == contents[2]
    assert len(contents[0]) >= 6
    for name, root in roots.items():
        if name != left:
            shutil.rmtree(root)
    shop.run("DELETE FROM book")
    shop.site.close()
    for alias in ALIASES:
        restore_backup(database=alias)
    assert shop.run("SELECT count(*) FROM book") == [BOOKS] * 3


def test_one_that_fails_does_not_stop_the_others(shop: Shop) -> None:
    shop.file.write_bytes(b"this was a database once " * 1000)
    answer = shop.site.call("backup_create")
    assert answer.code == 3
    assert "local" in answer.stderr
    assert sorted(manifest.source.database for manifest in list_backups()) == ["analytics", "default"]
