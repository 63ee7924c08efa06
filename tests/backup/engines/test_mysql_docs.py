"""docs/mysql.md promises what is so: its users can do what they shall, and nothing else."""

from __future__ import annotations

import re
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup import create_backup, restore_backup, verify_backup
from django_cfg.backup.engines.mysql.connection import IGNORED_OPTIONS
from django_cfg.backup.engines.mysql.option_file import OPTION_NAMES, SSL_OPTION_NAMES
from django_cfg.backup.engines.mysql.privileges import RESTORE_PRIVILEGES
from django_cfg.backup.errors import DumpFailed, RestoreFailed, RestoreRefused
from tests.support.databases import BOOKS, fail_unless_equal
from tests.support.documented_mysql_users import PAGE, SQL, become
from tests.support.mysql_databases import MySQLServer
from tests.support.mysql_objects import KINDS


@pytest.fixture
def server(mysql_server: MySQLServer) -> MySQLServer:
    return with_code(mysql_server)


def with_code(server: MySQLServer) -> MySQLServer:
    for name in ("views", "triggers", "code", "events"):
        server.script(KINDS[name][0].replace("{db}", server.databases["default"]))
    return server


def drop_triggers(server: MySQLServer) -> None:
    for (name,) in server.run("SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE()"):
        server.run(f"DROP TRIGGER `{name}`")


def test_the_user_that_can_back_up_and_nothing_else(server: MySQLServer) -> None:
    user = become(server, SQL[0])
    with pytest.raises(DumpFailed, match=r"execute command denied.*twice.*GRANT"):
        create_backup()
    server.server.sql(f"GRANT EXECUTE ON FUNCTION {server.databases['default']}.twice TO {user}")
    verify_backup(create_backup().name)
    findings = server.site.call("backup_check", "--json").json
    assert {finding["level"] for finding in findings if finding["subject"] == "default"} == {"OK"}
    before = server.text()
    with pytest.raises(RestoreRefused, match=r"may not do all that a restore.*GRANT INSERT, CREATE, DROP"):
        restore_backup()
    fail_unless_equal(before, server.text())


def test_the_user_that_can_restore(server: MySQLServer) -> None:
    """Into a scratch, with the old data set aside; as its own what it may not give to others."""
    become(server, SQL[1])
    create_backup()
    server.run("DELETE FROM book")
    switched = restore_backup()
    assert server.count("book") == BOOKS
    assert switched.old_data in server.schemas()
    assert "`root`@`127.0.0.1`" in switched.advice


def test_a_user_that_may_not_lock_is_refused_while_there_are_triggers(server: MySQLServer) -> None:
    """The old ones go while their tables are locked; else the restore would fail when all has been loaded."""
    user = become(server, SQL[1])
    create_backup()
    server.server.sql(f"REVOKE LOCK TABLES ON {server.databases['default']}.* FROM {user}")
    before = server.text()
    with pytest.raises(RestoreRefused, match=r"may not do all that a restore.*: GRANT LOCK TABLES ON"):
        restore_backup()
    fail_unless_equal(before, server.text())
    assert server.schemas() == set()
    drop_triggers(server)
    server.run("DELETE FROM book")
    restore_backup()
    assert server.count("book") == BOOKS


def test_a_transaction_in_the_way_of_a_user_that_can_restore(server: MySQLServer) -> None:
    """It could not give back the events of others, and has not taken them."""
    become(server, SQL[1])
    create_backup()
    before = server.text()
    server.site.configure(lock_timeout=1)
    with closing(server.connect()) as other:
        other.begin()
        other.query("SELECT * FROM book FOR UPDATE")
        with pytest.raises(RestoreFailed, match=r"(?s)Lock wait timeout.*as it was"):
            restore_backup()
    fail_unless_equal(before, server.text())
    restore_backup()


def test_the_user_that_can_restore_what_belongs_to_others(server: MySQLServer) -> None:
    user = become(server, SQL[1])
    server.server.sql(f"GRANT SET USER ON *.* TO {user}")
    create_backup()
    assert "DEFINER" not in restore_backup().advice


def test_every_option_is_named() -> None:
    for name in (*OPTION_NAMES, *SSL_OPTION_NAMES):
        assert f"`{name}`" in PAGE or name in ("ssl_capath",), name
    assert {"read_timeout", "isolation_level"} <= IGNORED_OPTIONS


def test_the_commands_by_hand(own_mysql_server: MySQLServer, tmp_path: Path) -> None:
    server = with_code(own_mysql_server)
    server.run("DROP TRIGGER noted")  # its author wrote the database's name into it
    manifest = create_backup()
    (block,) = re.findall(r"```console\n(\$ gzip -dc.*?)```", PAGE, re.DOTALL)
    (tmp_path / ".my.cnf").write_text(
        f"[client]\nhost=127.0.0.1\nport={server.server.port}\nuser=root\npassword={server.server.PASSWORD}\n"
    )
    script = block.replace("$ ", "").replace("default_20250115_020000_production.sql.gz", manifest.archive.key)
    for edit in ("", "| tail -n +2 "):
        server.server.sql("DROP DATABASE IF EXISTS restored")
        edited = script.replace("| mariadb", f"{edit}| mariadb")
        done = subprocess.run(
            ["sh", "-e", "-c", edited], cwd=server.site.backups, env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert server.server.sql("SELECT COUNT(*) FROM restored.book") == [(BOOKS,)]
    server.server.sql("DROP DATABASE restored")


@pytest.mark.parametrize(
    ("form", "more"),
    [({}, ["LOCK TABLES"]), ({"in_place": True}, []), ({"tables": ["book"]}, ["DELETE"])],
)
def test_the_rights_that_are_looked_at_are_enough(server: MySQLServer, form: dict[str, Any], more: list[str]) -> None:
    """A user who has these and no other gets through, to the end.

    EXECUTE is for the view that calls a function. In the schemas next to the database, where it may do all, it notes
    how far it has come.
    """
    user = become(server, SQL[1])
    rights, database = ", ".join((*RESTORE_PRIVILEGES, *more, "EXECUTE")), server.databases["default"]
    escaped = database.replace("_", r"\_")
    for scope, noting in ((f"{database}.*", ""), (rf"`{escaped}\_\_restore\_%`.*", ", UPDATE")):
        server.server.sql(f"REVOKE ALL PRIVILEGES ON {scope} FROM {user}")
        server.server.sql(f"GRANT {rights}{noting} ON {scope} TO {user}")
    if "tables" in form:
        drop_triggers(server)  # they would fire
    create_backup()
    server.server.sql(f"UPDATE {database}.book SET title = 'gone'")
    restore_backup(**form)
    assert server.run("SELECT COUNT(*) FROM book WHERE title <> 'gone'") == [(BOOKS,)]
