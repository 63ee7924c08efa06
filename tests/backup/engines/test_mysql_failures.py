"""What bad input and bad luck get of a backup: a clear error, nothing published, no password left behind."""

from __future__ import annotations

import os
import re
import signal
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.mysql import schema
from django_cfg.backup.engines.mysql.session import Session
from django_cfg.backup.errors import (
    DatabaseUnavailable,
    DumpFailed,
    ToolNotFound,
)
from tests.backup.engines.failures_contract import BackupFailuresContract, fail_to_back_up
from tests.support.databases import AUTHORS, BOOKS, DatabaseServer
from tests.support.mariadb_server import mariadb_program
from tests.support.mysql_databases import MySQLServer
from tests.support.processes import child_running, children, command_line, in_parallel, suspended, wait_until


@pytest.fixture
def server(mysql_server: MySQLServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MySQLServer]:
    before = children()
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield mysql_server
    assert children() <= before
    assert list(folder.iterdir()) == []


def password_files() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob("django-cfg-backup-*/client.cnf"))


class TestBackupFailures(BackupFailuresContract):
    wrong_password = "Access denied for user 'root'"
    absent_database = "Unknown database 'absent'"
    missing_program = "install mariadb-client"
    stopped_server = "Lost connection|gone away|[Cc]an't connect"
    unanswered = "timed out"
    no_privilege = "half_.*@% may not see everything.*GRANT SELECT, SHOW VIEW, TRIGGER, EVENT"
    schema = schema
    programs = {"mariadb-dump": create_backup, "mariadb": restore_backup}

    @pytest.fixture
    def server(self, mysql_server: MySQLServer) -> MySQLServer:
        return mysql_server

    @pytest.fixture
    def fragile(self, own_mysql_server: MySQLServer) -> MySQLServer:
        return own_mysql_server

    def without_tls(self) -> Iterator[tuple[dict[str, Any], str]]:
        """Or that name a certificate that does not exist."""
        yield {"ssl_ca": "/nowhere/ca.pem"}, "No such file"
        known = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
        yield {"ssl_ca": known}, "(SSL|TLS).*Check the ssl parameters"

    def reader_of_author(self, server: DatabaseServer) -> dict[str, Any]:
        assert isinstance(server, MySQLServer)
        user = server.user("half@'%'", "SELECT ON {db}.author")
        return {"USER": user.rpartition("@")[0], "PASSWORD": "pw"}

    def visible(self, pid: int) -> str:
        """The environment too."""
        with suppress(OSError):
            return command_line(pid) + Path(f"/proc/{pid}/environ").read_text(errors="replace")
        return ""


# --- the tools


def test_tools_dir_without_the_client(server: MySQLServer, tmp_path: Path) -> None:
    server.site.configure(tools_dir=str(tmp_path))
    (tmp_path / "mariadb-dump").symlink_to(mariadb_program("mariadb-dump"))
    create_backup()
    findings = server.site.call("backup_check", "--json").json
    (warning,) = (found["text"] for found in findings if (found["level"], found["subject"]) == ("WARNING", "default"))
    assert warning.startswith("To restore or drill the database 'default', mariadb is needed")
    with pytest.raises(ToolNotFound, match=r"To restore the database 'default', mariadb is needed"):
        restore_backup()


# --- rights


@pytest.mark.parametrize("missing", ["SHOW VIEW", "TRIGGER", "EVENT", "SELECT", "EXECUTE"])
def test_each_right_that_is_missing_is_named(server: MySQLServer, missing: str) -> None:
    rights = {"SELECT", "SHOW VIEW", "TRIGGER", "EVENT", "EXECUTE"} - {missing}
    user = server.user("nearly@'%'", f"{', '.join(rights)} ON {{db}}.*")
    server.act_as(user)
    wanted = f"GRANT {missing} ON `{server.databases['default']}`".replace("_", r"\_")
    with pytest.raises(DatabaseUnavailable, match=r"nearly_.*@% may not see everything") as failure:
        create_backup()
    assert wanted in str(failure.value)
    server.server.sql(f"GRANT {missing} ON {server.databases['default']}.* TO {user}")
    assert create_backup().rows == AUTHORS + BOOKS


def test_the_text_of_a_routine_is_hidden(server: MySQLServer) -> None:
    """The owner of a schema lists routines of others and may not read them."""
    server.run("CREATE PROCEDURE secret() SELECT 1")
    user = server.user("owner@'%'", "ALL ON {db}.*")
    server.act_as(user)
    fail_to_back_up(server, DumpFailed, "insufficient privileges|insufficent.*docs/mysql.md")
    server.server.sql(f"GRANT SELECT ON mysql.proc TO {user}")
    create_backup()


def test_rights_through_a_role_and_a_wildcard_count(server: MySQLServer) -> None:
    database = server.databases["default"]
    role = f"keepers_of_{database}"
    server.server.sql(f"CREATE OR REPLACE ROLE {role}", f"GRANT ALL ON `{database[:-1]}%`.* TO {role}")
    user = server.user("member@'%'")
    server.server.sql(f"GRANT {role} TO {user}", f"SET DEFAULT ROLE {role} FOR {user}")
    server.act_as(user)
    create_backup()
    server.server.sql(f"DROP ROLE {role}")


# --- during a dump


def test_a_writer_goes_on_and_a_migration_too(server: MySQLServer) -> None:
    """Nothing is locked while the dump is under way: what was read already may even be altered."""
    server.run(server.many_books)
    done: list[str] = []

    def act() -> None:
        with suspended(wait_until(lambda: child_running("mariadb-dump"))):
            server.run(
                "SET lock_wait_timeout = 5", "INSERT INTO author VALUES (1000, 'late')", "UPDATE book SET title = 'x'"
            )
            done.append("written")

    with in_parallel(act):
        manifest = create_backup()
    assert done == ["written"]
    assert {table.name: table.rows for table in manifest.tables}["author"] in (AUTHORS, AUTHORS + 1)
    restore_backup()


def test_a_program_that_ends_at_once_does_not_hide_why_it_was_ended(
    server: MySQLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It only knows that it lost its connection, and says so before the counting has got to its own words."""
    execute = Session.execute

    def slowly(session: Session, *statements: str) -> None:
        execute(session, *statements)
        if statements[0].startswith("KILL "):
            time.sleep(1)

    monkeypatch.setattr(Session, "execute", slowly)
    server.site.configure(lock_timeout=1)
    with server.locked("book"):
        fail_to_back_up(server, DumpFailed, "Another transaction, often a migration, holds a lock.*lock_timeout")


WAITING = "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting%' AND db = DATABASE()"


def test_table_locked_when_it_has_been_counted(server: MySQLServer) -> None:
    """The counting has passed and the program waits: it is not waited for either, and waits no longer itself."""
    server.site.configure(lock_timeout=2)
    server.run(*(f"CREATE TABLE book_{number} AS SELECT * FROM book" for number in range(3)), server.many_books)
    release = threading.Event()

    def lock_it() -> None:
        with suspended(wait_until(lambda: child_running("mariadb-dump"))):
            time.sleep(0.5)  # the counting passes by; when it does not, the test shows the same
            holder = stack.enter_context(server.locked("book_2"))
            assert holder is None
        release.wait(30)

    with ExitStack() as stack, in_parallel(lock_it):
        try:
            fail_to_back_up(server, DumpFailed, "holds a lock|Lock")
            wait_until(lambda: server.run(WAITING) == [(0,)])  # while the lock is held: without it nothing waits
        finally:
            release.set()


def test_a_view_that_refers_to_nothing(server: MySQLServer) -> None:
    """The program would leave it out or stop: it stops, and the view is named."""
    server.run("CREATE TABLE gone (i int)", "CREATE VIEW orphan AS SELECT i FROM gone", "DROP TABLE gone")
    fail_to_back_up(server, DumpFailed, r"\.orphan' references invalid.*A view refers to something that does not exist")


@pytest.mark.parametrize(
    ("user", "statements", "reason"),
    [
        ("", ["CREATE TABLE gone (i int)", "CREATE VIEW orphan AS SELECT i FROM gone", "DROP TABLE gone"],
         r"orphan' references invalid.*DROP it or fix it"),
        ("left@localhost", ["CREATE DEFINER={user} FUNCTION f() RETURNS int RETURN 1",
                            "CREATE VIEW orphan AS SELECT f() AS i", "DROP USER {user}"],
         r"The user specified as a definer \('left.*does not exist.*ALTER DEFINER"),
    ],
)  # fmt: skip
def test_backup_check_looks_at_views(server: MySQLServer, user: str, statements: list[str], reason: str) -> None:
    """Where a dump would stop at one, a check says so before."""
    user = server.user(user, "EXECUTE ON {db}.*") if user else ""
    server.run(*(statement.replace("{user}", user) for statement in statements))
    lines = server.site.call("backup_check", "--json").json
    (failure,) = (line["text"] for line in lines if line["level"] == "FAILED" and line["subject"] == "default")
    assert re.search(f"(?s){reason}", failure)
    fail_to_back_up(server, DumpFailed, reason)
    server.site.configure(databases=[{"alias": "default", "include_tables": ["book", "author"]}])
    lines = server.site.call("backup_check", "--json").json
    assert not [line for line in lines if line["level"] == "FAILED" and line["subject"] == "default"]


def test_a_dump_without_its_end_mark(server: MySQLServer, tmp_path: Path) -> None:
    """A program that ends well and leaves out the end: it happened when pipes broke."""
    script = tmp_path / "mariadb-dump"
    program = mariadb_program("mariadb-dump")
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *--help*|*--version*) {program} "$@";; *) {program} "$@" | head -n -1;; esac\n'
    )
    script.chmod(0o755)
    server.site.configure(tools_dir=str(tmp_path))
    fail_to_back_up(server, DumpFailed, "no end mark: it was cut short")


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("head -c 8000000 /dev/urandom", "no end mark|no end within"),
        ("head -c 70000000 /dev/zero", "A statement has no end within 64 MiB"),
    ],
)
def test_a_program_that_writes_something_else(server: MySQLServer, tmp_path: Path, output: str, reason: str) -> None:
    """And ends with success, as a wrapper may."""
    program = mariadb_program("mariadb-dump")
    wrapper = tmp_path / "mariadb-dump"
    wrapper.write_text(f'#!/bin/sh\ncase "$*" in *--help*|*--version*) {program} "$@";; *) {output};; esac\n')
    wrapper.chmod(0o755)
    server.site.configure(tools_dir=str(tmp_path))
    started = time.monotonic()
    fail_to_back_up(server, DumpFailed, reason)
    assert time.monotonic() - started < 60


def test_tables_that_no_snapshot_covers_are_reported(server: MySQLServer) -> None:
    server.run("CREATE TABLE loose (i int) ENGINE=MyISAM", "INSERT INTO loose VALUES (1)")
    answer = server.site.call("backup_check", "--json")
    warnings = [finding["text"] for finding in answer.json if finding["level"] == "WARNING"]
    assert any("loose (MyISAM)" in text for text in warnings)


# --- secrets


def test_the_password_file_is_ours_alone(server: MySQLServer) -> None:
    modes: set[int] = set()

    def look() -> None:
        modes.update(path.stat().st_mode & 0o777 for path in wait_until(password_files))

    server.site.configure(lock_timeout=1)
    with server.locked("book"), in_parallel(look):
        fail_to_back_up(server, DumpFailed, "holds a lock")
    assert modes == {0o600}


def test_the_password_file_of_a_killed_run_is_removed_by_the_next(server: MySQLServer) -> None:
    server.run(server.many_books)
    server.site.close()
    pid = os.fork()
    if pid == 0:
        _act(lambda: create_backup())
    wait_until(password_files)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert password_files() != []
    create_backup()
    assert password_files() == []


def _act(action: Callable[[], object]) -> None:
    try:
        action()
    finally:
        os._exit(0)
