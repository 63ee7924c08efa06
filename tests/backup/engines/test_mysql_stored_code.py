"""Views, triggers, routines and events that are in the way of a restore, or are to survive it."""

from __future__ import annotations

import pytest

from django_cfg.backup import create_backup, list_backups, restore_backup
from django_cfg.backup.errors import RestoreRefused
from tests.support.databases import BOOKS
from tests.support.documented_mysql_users import SQL, become
from tests.support.mysql_databases import MySQLServer


@pytest.fixture
def server(mysql_server: MySQLServer) -> MySQLServer:
    return mysql_server


@pytest.fixture
def broken(server: MySQLServer) -> MySQLServer:
    """Somebody has dropped a table that a view asks, and another view by that one."""
    server.run("CREATE TABLE gone (i int)", "CREATE VIEW titles AS SELECT title FROM book")
    create_backup()
    server.run(
        "CREATE VIEW orphan AS SELECT i FROM gone", "CREATE VIEW upon AS SELECT i FROM orphan", "DROP TABLE gone"
    )
    return server


def test_a_broken_view_is_no_obstacle(broken: MySQLServer) -> None:
    """It is reported before anything is loaded, and its text is kept like that of the others."""
    answer = broken.site.call("backup_restore", "--yes")
    assert answer.code == 0, answer.stderr
    assert "the views orphan, upon refer to something that does not exist" in answer.stderr
    assert broken.count("gone") == 0
    (aside,) = broken.schemas()
    kept = broken.server.sql(f"SELECT name, statement FROM `{aside}`.django_cfg_backup_plan WHERE generation = 'old'")
    texts = {name: bytes(text).decode() for name, text in kept}  # type: ignore[call-overload]
    assert set(texts) == {"orphan", "upon", "titles"}
    assert "VIEW `orphan` AS select" in texts["orphan"]


def test_in_place_the_way_past_a_broken_view_is_named(broken: MySQLServer) -> None:
    """The backup that is made first cannot be: the database is as it was."""
    with pytest.raises(RestoreRefused, match=r"orphan.*DROP it or fix it.*give --discard-old"):
        restore_backup(in_place=True)
    assert "gone" not in broken.table_names()
    restore_backup(in_place=True, discard_old=True)
    assert broken.count("gone") == 0


def test_code_that_cannot_be_read_is_reported_before_it_is_loaded(server: MySQLServer) -> None:
    """Its text is hidden from this user, so the switch would fail: after hours of loading, had it not been checked."""
    create_backup()
    server.run("CREATE PROCEDURE secret() SELECT 1", "DELETE FROM book WHERE id > 10")
    user = become(server, SQL[1])
    server.server.sql(f"REVOKE SELECT ON mysql.proc FROM {user}")
    with pytest.raises(RestoreRefused, match=r"insuff?ici?ent privileges.*was not touched.*docs/mysql.md"):
        restore_backup()
    assert server.schemas() == set()
    server.server.sql(f"GRANT SELECT ON mysql.proc TO {user}")
    restore_backup()
    assert server.count("book") == BOOKS
    assert len(list_backups()) == 1


@pytest.mark.parametrize("in_place", [True, False])
def test_grants_on_single_routines_survive(server: MySQLServer, *, in_place: bool) -> None:
    """Whatever has become of them in the meantime, and though their definer is gone; what is later goes."""
    leaver = server.user("leaver@'%'", "ALL ON {db}.*")
    server.script(f"""CREATE FUNCTION one() RETURNS int RETURN 1; CREATE DEFINER={leaver} PROCEDURE work() SELECT 1;
        SET sql_mode = ORACLE;
        DELIMITER $$
        CREATE PACKAGE pack AS FUNCTION two RETURN INT; END$$
        CREATE PACKAGE BODY pack AS FUNCTION two RETURN INT AS BEGIN RETURN 2; END; END$$""")
    clerk = server.user("clerk@'%'", "EXECUTE ON FUNCTION {db}.one", "EXECUTE ON PROCEDURE {db}.work")
    package = f"{server.databases['default']}.pack"
    server.server.sql("SET sql_mode = ORACLE", f"GRANT EXECUTE ON PACKAGE {package} TO {clerk}")
    before = server.server.sql(f"SHOW GRANTS FOR {clerk}")
    create_backup()
    server.server.sql(f"DROP USER {leaver}")
    server.script("CREATE OR REPLACE FUNCTION one() RETURNS int RETURN 9; CREATE PROCEDURE later() SELECT 1;")
    assert f"`{leaver.partition('@')[0]}`@`%`" in restore_backup(in_place=in_place).advice
    assert server.server.sql(f"SHOW GRANTS FOR {clerk}") == before
    assert server.run("SELECT one()") == [(1,)]
    names = "SELECT DISTINCT routine_name FROM information_schema.routines WHERE routine_schema = DATABASE() ORDER BY 1"
    assert server.run(names) == [("one",), ("pack",), ("work",)]
