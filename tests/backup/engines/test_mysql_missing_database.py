"""A database that is lost: a restore creates it as it was, a drill needs it not, and a failure leaves nothing."""

from __future__ import annotations

import pytest

from django_cfg.backup import create_backup, drill_backup, restore_backup
from django_cfg.backup.errors import DatabaseUnavailable, RestoreFailed, RestoreRefused
from tests.support.databases import fail_unless_equal
from tests.support.forged_backups import forge
from tests.support.mysql_databases import MySQLServer

CHARSET = "CHARACTER SET latin1 COLLATE latin1_german2_ci"


@pytest.fixture
def server(mysql_server: MySQLServer) -> MySQLServer:
    mysql_server.run(f"ALTER DATABASE {mysql_server.databases['default']} {CHARSET}", "CREATE VIEW v AS SELECT 1 AS i")
    return mysql_server


def drop(server: MySQLServer) -> None:
    server.site.close()
    server.server.sql(f"DROP DATABASE {server.databases['default']}")


def exists(server: MySQLServer) -> bool:
    return bool(server.server.sql(f"SHOW DATABASES LIKE '{server.databases['default']}'"))


@pytest.mark.parametrize("options", [{}, {"in_place": True}, {"discard_old": True}])
def test_it_is_created_as_it_was(server: MySQLServer, options: dict[str, bool]) -> None:
    before = server.text()
    create_backup()
    drop(server)
    assert restore_backup(**options).old_data is None  # type: ignore[arg-type]
    fail_unless_equal(before, server.text())
    assert server.schemas() == set()


def test_it_is_said_before(server: MySQLServer) -> None:
    create_backup()
    drop(server)
    preview = server.site.call("backup_restore", "latest", "--yes").stderr
    assert f"the database does not exist and is created, {CHARSET}" in preview
    assert "Old data there is none: the database is new" in preview
    assert "kept next to it" not in preview
    assert exists(server)


def test_a_drill_does_without_it(server: MySQLServer) -> None:
    manifest = create_backup()
    drop(server)
    assert drill_backup(manifest.name).succeeded
    assert not exists(server)
    assert server.schemas() == set()


def test_a_part_of_one_is_restored(server: MySQLServer) -> None:
    server.site.configure(databases=[{"alias": "default", "include_tables": ["author"]}])
    create_backup()
    drop(server)
    restore_backup()
    assert server.table_names() == ["author"]


def test_some_tables_are_refused(server: MySQLServer) -> None:
    create_backup()
    drop(server)
    with pytest.raises(RestoreRefused, match="has no table book"):
        restore_backup(tables=["book"])
    assert not exists(server)


def test_after_a_failure_there_is_none(server: MySQLServer) -> None:
    manifest = create_backup()
    forge(server.site, manifest, lambda dump: dump.replace(b"varchar(100)", b"varchra(100)"))
    drop(server)
    with pytest.raises(RestoreFailed, match="as it was"):
        restore_backup()
    assert not exists(server)
    assert server.schemas() == set()


def test_a_user_that_may_not_create_it(server: MySQLServer) -> None:
    create_backup()
    drop(server)
    server.act_as(server.user("reader@'%'", "SELECT ON {db}.*"))
    statement = f"CREATE DATABASE `{server.databases['default']}` {CHARSET}"
    with pytest.raises(RestoreRefused, match=f"does not exist, and this user may not create it.*{statement}"):
        restore_backup()


def test_a_user_with_the_documented_rights(server: MySQLServer) -> None:
    create_backup()
    drop(server)
    server.act_as(
        server.user(
            "restorer@'%'", "ALL PRIVILEGES ON {db}.*", r"ALL PRIVILEGES ON `{db}\_\_restore\_%`.*",
            "SELECT ON mysql.proc",
        )
    )  # fmt: skip
    restore_backup()
    assert server.count("book")


def test_a_backup_does_not_create_it(server: MySQLServer) -> None:
    drop(server)
    with pytest.raises(DatabaseUnavailable, match=r"Unknown database.*lost is created by backup_restore"):
        create_backup()
    assert not exists(server)
