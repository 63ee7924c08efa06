"""What comes after the rows is restored by several sessions: how many, in which order, and what a failure leaves."""

from __future__ import annotations

import os
import resource
import shlex
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.postgresql import load_phases
from django_cfg.backup.engines.postgresql.connection import connect
from django_cfg.backup.engines.postgresql.custom_format import measure_contents
from django_cfg.backup.engines.postgresql.restore_sessions import prepare_sessions
from django_cfg.backup.engines.postgresql.schema import fetch_rows
from django_cfg.backup.errors import BackupError, RestoreFailed, StorageError
from django_cfg.backup.services.verification.drill import drill_backup
from tests.support.database_servers import on_every_postgresql
from tests.support.databases import fail_unless_equal
from tests.support.postgresql_databases import PostgreSQLServer
from tests.support.processes import child_running, children, command_line, in_parallel, is_running, wait_until
from tests.support.strict_pooler import refusing_settings

SECRET = "t0p-secret"
# Of four indexes, each takes minutes where a restore makes them.
SLEEP = """
CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN IF current_database() LIKE '%__restoring_%' THEN PERFORM pg_sleep(600); END IF; RETURN i; END $$
"""
SLOW = (SLEEP, *(f"CREATE TABLE slow_{n} AS SELECT {n} AS i; CREATE INDEX ON slow_{n} (slow(i))" for n in range(4)))
# A table whose rows are unique here, and not in a staging database.
DUPLICATE = (
    """CREATE FUNCTION shorten(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN RETURN CASE WHEN current_database() LIKE '%__restoring_%' THEN left(t, -1) ELSE t END; END $$""",
    f"CREATE TABLE word AS SELECT '{SECRET}' || i AS text FROM generate_series(1, 2) i",
    "CREATE UNIQUE INDEX word_once ON word (shorten(text))",
)
ORPHAN = (
    "CREATE TABLE parent (code text PRIMARY KEY)",
    "CREATE TABLE child (code text REFERENCES parent)",
    "ALTER TABLE child DISABLE TRIGGER ALL",
    f"INSERT INTO child VALUES ('{SECRET}')",
)
EVERYTHING = """
CREATE TABLE shelf (id int PRIMARY KEY, name text);
INSERT INTO shelf SELECT i, 'shelf ' || i FROM generate_series(1, 500) i;
CREATE TABLE place (book int REFERENCES book, shelf int NOT NULL REFERENCES shelf);
INSERT INTO place SELECT id, 1 + id % 500 FROM book;
CREATE INDEX place_shelf ON place (shelf);
COMMENT ON INDEX place_shelf IS 'an index';
ALTER TABLE shelf REPLICA IDENTITY USING INDEX shelf_pkey;
CREATE TABLE part (i int PRIMARY KEY) PARTITION BY RANGE (i);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (1) TO (1000);
INSERT INTO part SELECT generate_series(1, 900);
CREATE VIEW grouped AS SELECT id, name, count(*) AS n FROM shelf JOIN place ON shelf = id GROUP BY shelf.id;
CREATE MATERIALIZED VIEW full_shelves AS SELECT * FROM grouped;
CREATE MATERIALIZED VIEW tally AS SELECT count(*) AS n FROM full_shelves;
CREATE UNIQUE INDEX ON full_shelves (id);
CREATE RULE kept AS ON DELETE TO shelf DO INSTEAD NOTHING;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;
CREATE TRIGGER noted BEFORE INSERT ON shelf FOR EACH ROW EXECUTE FUNCTION note();
ALTER TABLE shelf ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON shelf USING (true);
REVOKE ALL ON shelf FROM owner;
GRANT SELECT (id) ON shelf TO public;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO public;
CREATE PUBLICATION shelves FOR TABLE shelf;
CREATE STATISTICS of_place ON book, shelf FROM place;
SELECT lo_from_bytea(7, 'large');
CREATE TABLE seen (what text);
CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO public.seen VALUES (tg_tag); END $$;
CREATE EVENT TRIGGER watching ON ddl_command_end EXECUTE FUNCTION watch();
CREATE EVENT TRIGGER strict ON ddl_command_start WHEN TAG IN ('REFRESH MATERIALIZED VIEW', 'CREATE INDEX', 'GRANT')
    EXECUTE FUNCTION watch();
DELETE FROM seen;
COMMENT ON EVENT TRIGGER watching IS 'last';
DELETE FROM seen
"""


@pytest.fixture
def server(
    postgresql_server: PostgreSQLServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PostgreSQLServer]:
    """After the test nothing is left: no process, no file, no database."""
    before, folder = children(), tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield postgresql_server
    assert children() <= before
    assert list(folder.iterdir()) == []
    assert postgresql_server.made("restoring") == []


@pytest.fixture
def calls(server: PostgreSQLServer, tmp_path: Path) -> Callable[[], list[list[str]]]:
    """What each pg_restore that connects to a database was called with; a copy is made of each file that it reads."""
    programs, log = tmp_path / "programs", tmp_path / "calls"
    programs.mkdir()
    for program in ("pg_dump", "psql"):
        (programs / program).symlink_to(server.server.programs / program)
    real = shlex.quote(str(server.server.programs / "pg_restore"))
    script = f"""#!/bin/sh
for last; do :; done
case "$*" in
    *--dbname*) printf '%s\\n' "$@" >> {log}; echo END >> {log}
        case "$last" in *contents) cp "$last" {tmp_path}/contents; ls -l "$last" > {tmp_path}/mode;; esac;;
esac
exec {real} "$@"
"""
    (programs / "pg_restore").write_text(script)
    (programs / "pg_restore").chmod(0o755)
    server.site.always = {"tools_dir": str(programs)}
    server.site.configure()

    def read() -> list[list[str]]:
        return [call.splitlines() for call in log.read_text().split("END\n")[:-1]]

    return read


def count_jobs(call: list[str]) -> int:
    return next((int(part.removeprefix("--jobs=")) for part in call if part.startswith("--jobs=")), 0)


def grandchildren() -> dict[int, list[int]]:
    """The workers of each pg_restore of ours."""
    pid = child_running("pg_restore")
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if pid else []
    return {pid: list(map(int, found))} if pid and found else {}


# --- what is restored


@on_every_postgresql
@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_everything_is_as_it_was(server: PostgreSQLServer, jobs: int) -> None:
    server.run(EVERYTHING)
    server.site.configure(restore_jobs=jobs)
    before = server.text()
    create_backup()
    server.run("DROP EVENT TRIGGER watching; DROP EVENT TRIGGER strict; DROP TABLE place CASCADE; DROP TABLE seen")
    restore_backup()
    fail_unless_equal(before, server.text())
    assert server.run("SELECT n FROM tally") == [(200,)]
    assert server.run("SELECT count(*) FROM seen") == [(0,)], "an event trigger saw the restore"


def test_some_sessions_need_a_file_which_holds_no_row(
    server: PostgreSQLServer, calls: Callable[[], list[list[str]]], tmp_path: Path
) -> None:
    server.run(f"INSERT INTO author VALUES (9999, '{SECRET}')", EVERYTHING)
    server.site.configure(compression="none")
    create_backup()
    restore_backup(jobs=3)
    rows, built, last = calls()
    assert [count_jobs(call) for call in (rows, built, last)] == [0, 3, 1]
    (archive,) = (path.read_bytes() for path in server.site.backups.rglob("*.pgdump"))
    contents = (tmp_path / "contents").read_bytes()
    assert archive.startswith(contents)
    assert SECRET.encode() in archive
    assert SECRET.encode() not in contents
    assert b"CREATE INDEX place_shelf" in contents
    assert (tmp_path / "mode").read_text().startswith("-rw------- ")


def test_one_session_does_as_before(server: PostgreSQLServer, calls: Callable[[], list[list[str]]]) -> None:
    server.run(EVERYTHING)
    create_backup()
    server.site.configure(restore_jobs=1)
    restore_backup()
    assert [count_jobs(call) for call in calls()] == [0]


def test_a_table_of_contents_that_is_too_large_for_a_file(
    server: PostgreSQLServer, calls: Callable[[], list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.run(EVERYTHING)
    before = server.text()
    create_backup()
    monkeypatch.setattr(load_phases, "CONTENTS_LIMIT", 10_000)
    restore_backup(jobs=2)
    assert [count_jobs(call) for call in calls()] == [0]
    fail_unless_equal(before, server.text())


def test_drills_use_as_many(server: PostgreSQLServer, calls: Callable[[], list[list[str]]]) -> None:
    server.run(EVERYTHING)
    create_backup()
    server.site.configure(restore_jobs=2)
    assert drill_backup().succeeded
    assert server.site.call("backup_verify", "latest", "--drill", "--jobs", "3").code == 0
    assert [count_jobs(call) for call in calls()] == [0, 2, 1, 0, 3, 1]


def test_the_option(server: PostgreSQLServer, calls: Callable[[], list[list[str]]]) -> None:
    create_backup()
    server.site.configure(restore_jobs=4)
    assert server.site.call("backup_restore", "--yes", "--jobs", "2").code == 0
    assert max(map(count_jobs, calls())) == 2
    answer = server.site.call("backup_restore", "--yes", "--jobs", "0")
    assert (answer.code, "at least 1" in answer.stderr) == (1, True)
    answer = server.site.call("backup_verify", "--jobs", "2")
    assert (answer.code, "give --drill, too" in answer.stderr) == (2, True)


def test_no_room_for_the_table_of_contents(server: PostgreSQLServer) -> None:
    server.run(EVERYTHING)
    create_backup()
    before = server.text()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(StorageError, match=r"does not fit into the temporary folder .*TMPDIR"):
            restore_backup(jobs=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    fail_unless_equal(before, server.text())


@on_every_postgresql
def test_the_length_of_a_table_of_contents(server: PostgreSQLServer, tmp_path: Path) -> None:
    """pg_restore finds in it what is in the archive, and in one byte less nothing."""
    server.run(EVERYTHING)
    archive, contents = tmp_path / "archive", tmp_path / "only"
    server.tool("pg_dump", "--format=custom", "--compress=0", f"--file={archive}", server.databases["default"])
    data = archive.read_bytes()
    size = measure_contents([data[place : place + 1000] for place in range(0, len(data), 1000)])
    assert size
    contents.write_bytes(data[:size])
    listed = [server.tool("pg_restore", "--list", str(path)).stdout for path in (archive, contents)]
    assert listed[0] == listed[1]
    contents.write_bytes(data[: size - 1])
    with pytest.raises(Exception, match="exit status 1"):
        server.tool("pg_restore", "--list", str(contents))
    assert measure_contents([data[: size - 1]]) is None
    assert measure_contents([b"PGDMP" + bytes([1, 99]) + data[7:]]) is None


# --- failures


@on_every_postgresql
@pytest.mark.parametrize(
    ("statements", "entry", "said"),
    [
        (
            DUPLICATE,
            "INDEX public word_once",
            r"create unique index.*Key \(public.shorten\(text\)\)=\(\.\.\.\)",
        ),
        (ORPHAN, "FK CONSTRAINT public child child_code_fkey", r"violates foreign key.*Key \(code\)=\(\.\.\.\)"),
    ],
)
@pytest.mark.parametrize("jobs", [1, 2])
def test_what_fails_is_named(
    server: PostgreSQLServer, statements: tuple[str, ...], entry: str, said: str, jobs: int
) -> None:
    server.run(*statements)
    create_backup()
    server.run("DELETE FROM book")
    before = server.text()
    with pytest.raises(RestoreFailed, match=rf"(?s)at the entry {entry}, and it is as it was.*{said}") as failure:
        restore_backup(jobs=jobs)
    assert SECRET not in "".join(traceback.format_exception(failure.value))
    fail_unless_equal(before, server.text())
    answer = server.site.call("backup_verify", "latest", "--drill", "--jobs", str(jobs))
    assert (answer.code, SECRET in answer.stderr, entry in answer.stderr) == (1, False, True)


@pytest.fixture
def slow(server: PostgreSQLServer) -> PostgreSQLServer:
    server.run(*SLOW)
    create_backup()
    server.run("DELETE FROM book")
    server.site.configure(restore_jobs=2)
    return server


@on_every_postgresql
@pytest.mark.parametrize("whom", ["a worker", "pg_restore", "a session"])
def test_one_of_them_is_killed(slow: PostgreSQLServer, whom: str) -> None:
    before, found = slow.text(), {}

    def kill() -> None:
        sessions = wait_until(lambda: len(slow.sleeping_in_staging()) == 2 and slow.sleeping_in_staging(), 60)
        found.update(grandchildren())
        ((program, workers),) = found.items()
        assert len(workers) == 2
        if whom == "a session":
            slow.server.sql(f"SELECT pg_terminate_backend({sessions[0]})")
        else:
            os.kill(program if whom == "pg_restore" else workers[0], signal.SIGKILL)

    with in_parallel(kill), pytest.raises(RestoreFailed, match=r"'default' failed.*it is as it was") as failure:
        restore_backup()
    assert "archive" not in str(failure.value)
    assert ("memory" in str(failure.value)) == (whom != "a session")
    assert not any(is_running(pid) for workers in found.values() for pid in workers)
    wait_until(lambda: not slow.sleeping_in_staging())
    fail_unless_equal(before, slow.text())


def test_a_drill_does_not_blame_the_backup_for_it(slow: PostgreSQLServer) -> None:
    def kill() -> None:
        wait_until(lambda: len(slow.sleeping_in_staging()) == 2, 60)
        ((_, workers),) = grandchildren().items()
        os.kill(workers[1], signal.SIGKILL)

    with in_parallel(kill), pytest.raises(BackupError, match="worker process died"):
        drill_backup()
    assert list(slow.site.backups.rglob("*proof*")) == []


def test_we_are_killed(slow: PostgreSQLServer, tmp_path: Path) -> None:
    """The workers end too; the next restore ends their sessions and removes what was left."""
    before = slow.text()
    slow.site.close()
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            restore_backup()
        os._exit(1)
    try:
        wait_until(lambda: len(slow.sleeping_in_staging()) == 2, 60)
        tree = descendants(pid)
        assert sum("--jobs=2" in command_line(found) for found in tree) == 3  # one and its two workers
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    wait_until(lambda: not any(map(is_running, tree)))
    fail_unless_equal(before, slow.text())
    assert len(slow.made("restoring")) == 1
    assert list((tmp_path / "tmp").glob("*/contents"))
    slow.run(*(f"DROP TABLE slow_{n}" for n in range(4)))
    restore_backup(create_backup().name)
    assert not slow.sleeping_in_staging()


def descendants(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")  # of the thread that has started them
    children = [child for path in found.parent.parent.glob("*/children") for child in path.read_text().split()]
    return [one for child in map(int, children) for one in (child, *descendants(child))]


# --- how many, and with which settings


def sessions_of(server: PostgreSQLServer, **changes: object) -> Database:
    return Database("default", server.server.settings(server.databases["default"], **changes))


def connections_of(connection: Any) -> int:
    """How many sessions of clients its server has."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    return int(connection.execute(query).fetchone()[0])


def test_few_free_connections(own_postgresql_server: PostgreSQLServer) -> None:
    """Half of those that are free; three are reserved for superusers, one is that of the question."""
    server = own_postgresql_server
    server.run(EVERYTHING)
    before = server.text()
    create_backup()
    server.server.stop()
    server.server.start("max_connections=10", "autovacuum=off")
    assert prepare_sessions(sessions_of(server), 8).jobs == 3
    with ExitStack() as stack:
        for held, expected in enumerate((2, 2, 1, 1), start=1):
            connection = stack.enter_context(closing(server.connect()))
            wait_until(lambda one=connection, number=held: connections_of(one) == number)  # those before have ended
            assert prepare_sessions(sessions_of(server), 8).jobs == expected
        assert prepare_sessions(sessions_of(server), 1).jobs == 1
    restore_backup(jobs=8)
    fail_unless_equal(before, server.text())


def test_limits_of_a_role_and_of_a_database(server: PostgreSQLServer) -> None:
    shop = server.role("shop", "LOGIN PASSWORD 'pw' CONNECTION LIMIT 7")
    assert prepare_sessions(sessions_of(server, USER=shop, PASSWORD="pw"), 8).jobs == 3
    server.run(f"ALTER DATABASE {server.databases['default']} CONNECTION LIMIT 5")
    assert prepare_sessions(sessions_of(server, USER=shop, PASSWORD="pw"), 8).jobs == 2
    assert prepare_sessions(sessions_of(server), None).jobs <= 2


def test_settings_of_the_sessions(server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server or the project has set stays."""
    server.run(f"ALTER DATABASE {server.databases['default']} SET default_transaction_read_only = on")

    def show(database: Database) -> tuple[object, ...]:
        names = ("synchronous_commit", "default_transaction_read_only", "maintenance_work_mem", "work_mem")
        sessions = prepare_sessions(database, 2)
        assert not sessions.is_read_only
        with connect(sessions.database) as connection:
            return tuple(fetch_rows(connection, f"SHOW {name}")[0][0] for name in names)

    assert show(sessions_of(server)) == ("off", "off", "64MB", "4MB")
    assert show(sessions_of(server, OPTIONS={"options": "-c work_mem=5MB"})) == ("off", "off", "64MB", "5MB")
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=6MB")
    assert show(sessions_of(server))[-1] == "6MB"


def test_a_pooler_that_refuses_settings(server: PostgreSQLServer) -> None:
    before = server.text()
    create_backup()
    server.run("DELETE FROM book")
    with refusing_settings(server.server.port) as port:
        database = sessions_of(server, PORT=port)
        assert prepare_sessions(database, 2).database is database
        server.use(PORT=port)
        restore_backup(jobs=2)
    server.use()
    fail_unless_equal(before, server.text())
