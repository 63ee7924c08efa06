"""Where no scratch schema may be made: a restore in place, after a backup of the present data."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings

from django_cfg.backup import create_backup, list_backups, restore_backup
from django_cfg.backup.errors import RestoreFailed, RestoreRefused, VerificationFailed
from tests.support.databases import AUTHORS, BOOKS, fail_unless_equal
from tests.support.forged_backups import forge
from tests.support.mysql_databases import MySQLServer
from tests.support.mysql_objects import KINDS


@pytest.fixture
def server(mysql_server: MySQLServer) -> MySQLServer:
    return without_staging(mysql_server)


def without_staging(server: MySQLServer) -> MySQLServer:
    """Let the project's user have every right in its own two databases, and none outside of them."""
    empty = server.databases["empty"]
    user = server.user("owner@'%'", "ALL ON {db}.*", f"ALL ON {empty}.*", "SELECT ON mysql.proc")
    server.act_as(user)
    return server


def newest(server: MySQLServer, trigger: str) -> str:
    return next(manifest.name for manifest in list_backups() if manifest.trigger == trigger)


def test_everything_comes_back_and_nothing_later_stays(server: MySQLServer) -> None:
    """But for the definers: this user may name no other user."""
    for name, (first, later) in KINDS.items():
        server.script(first.replace("{db}", server.databases["default"]))
        if name == "keys":
            create_backup()
        server.script(later)
    restore_backup()  # as it was after "keys": everything later is gone
    assert "audited" not in server.table_names()
    assert server.run("SELECT COUNT(*) FROM information_schema.routines WHERE routine_schema = DATABASE()") == [(0,)]
    assert (server.count("book"), server.count("author")) == (BOOKS, AUTHORS)
    assert server.schemas() == set()


def test_views_triggers_routines_and_events_come_back(server: MySQLServer) -> None:
    for name in ("views", "code", "triggers", "events"):
        server.script(KINDS[name][0].replace("{db}", server.databases["default"]))
    server.script(f"GRANT SUPER ON *.* TO {settings.DATABASES['default']['USER']}@'%'")
    before = server.text()
    create_backup()
    server.run("DELETE FROM book", "DROP VIEW aa_upon", "DROP PROCEDURE escapes", "DROP EVENT nightly")
    assert restore_backup().advice == ""
    fail_unless_equal(before, server.text())


def test_what_was_there_is_backed_up_before(server: MySQLServer) -> None:
    """All of it, whatever the settings leave out of backups; and it comes back by the same way."""
    create_backup()
    server.run("CREATE TABLE later (i int)", "INSERT INTO later VALUES (7)", "DELETE FROM book WHERE id > 9")
    server.site.configure(enabled=False, databases=[{"alias": "default", "exclude_tables": ["later", "book"]}])
    restore_backup()
    assert server.table_names() == ["author", "book"]
    restore_backup(newest(server, "before-restore"))
    assert (server.count("later"), server.count("book")) == (1, 9)


def test_an_empty_database_needs_no_backup(server: MySQLServer) -> None:
    create_backup()
    restore_backup(to="empty")
    assert server.count("book", "empty") == BOOKS
    assert len(list_backups()) == 1


def test_a_partial_backup_leaves_what_else_there_is(server: MySQLServer) -> None:
    server.run("CREATE PROCEDURE stays() SELECT 1", alias="empty")
    server.site.configure(databases=[{"alias": "default", "include_tables": ["author"]}])
    create_backup()
    restore_backup(to="empty")
    assert server.count("author", "empty") == AUTHORS
    server.run("CALL stays()", alias="empty")


def test_routines_alone_are_not_dropped_unsaved(server: MySQLServer) -> None:
    server.run("CREATE PROCEDURE stays() SELECT 1", alias="empty")
    create_backup()
    with pytest.raises(RestoreRefused, match="no table, but 1 views, routines or events"):
        restore_backup(to="empty")
    server.run("CALL stays()", alias="empty")


def test_a_damaged_archive_is_found_before_anything_is_touched(server: MySQLServer) -> None:
    manifest = create_backup()
    path = server.site.backups / manifest.archive_key
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    before = server.text()
    with pytest.raises(VerificationFailed):
        restore_backup()
    fail_unless_equal(before, server.text())
    assert len(list_backups()) == 1


def test_when_it_fails_the_way_back_is_named_and_works(mysql_server: MySQLServer) -> None:
    """The error names the backup that was made before, and the command that brings it back."""
    server = without_staging(mysql_server)
    server.run("CREATE TABLE big (t longtext)")
    forge(server.site, create_backup(), lambda dump: dump.replace(b"longtext", b"longtxet"))
    server.run("DROP TABLE big", "DELETE FROM book WHERE id > 9")
    before = server.text()
    with pytest.raises(RestoreFailed) as failure:
        restore_backup()
    name = newest(server, "before-restore")
    assert "'default' is now neither as it was nor restored." in str(failure.value)
    assert f"manage.py backup_restore {name} --to default" in str(failure.value)
    restore_backup(name, to="default")
    fail_unless_equal(before, server.text())


def test_the_history_of_a_project_on_mariadb(server: MySQLServer) -> None:
    """Its table is made by migrate, the run is recorded, and settled after a restore."""
    server.site.call("migrate", verbosity=0)
    manifest = create_backup()
    query = "SELECT state, name FROM django_cfg_backup_run WHERE kind = 'backup'"
    assert server.run(query) == [("succeeded", manifest.name)]
    restore_backup()
    assert server.run(query) == [("succeeded", manifest.name)]
    assert manifest.migrations["django_cfg_backup"] == ("0001_initial",)


def test_the_preview_says_what_is_done(server: MySQLServer, tmp_path: Path) -> None:
    create_backup()
    answer = server.site.call("backup_restore", "--yes")
    assert answer.code == 0, answer.stderr
    assert "in place: the database is incomplete until the end" in answer.stderr
