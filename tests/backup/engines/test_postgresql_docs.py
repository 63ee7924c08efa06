"""docs/postgresql.md promises what is so: its role can back up, and do nothing else."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from django_cfg.backup import create_backup, restore_backup, verify_backup
from django_cfg.backup.errors import BackupError, RestoreFailed
from tests.support.databases import BOOKS, fail_unless_equal
from tests.support.postgresql_databases import PostgreSQLServer

PAGE = (Path(__file__).parents[3] / "docs" / "postgresql.md").read_text()
SINCE_14, BEFORE_14 = (block for block in re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL) if "backup;" in block)
CREATE_AND_CONNECT = "".join(SINCE_14.splitlines(keepends=True)[:2])


@pytest.fixture
def server(postgresql_server: PostgreSQLServer) -> Iterator[PostgreSQLServer]:
    yield postgresql_server
    assert postgresql_server.made("restoring") == []


def become(server: PostgreSQLServer, page: str) -> str:
    """Carry out what the page says for this test's database and its owner, and let the project be the page's role."""
    role = server.role("backup", "")
    mine = (
        re.sub(r"\bbackup\b", role, page)
        .replace("DATABASE shop", f"DATABASE {server.databases['default']}")
        .replace("ROLE shop", "ROLE owner")
    )
    server.run(*mine.replace("CREATE ROLE", "ALTER ROLE").split(";\n"))
    server.use(USER=role, PASSWORD="choose one")
    return role


@pytest.mark.parametrize("page", [SINCE_14, CREATE_AND_CONNECT + BEFORE_14], ids=["since 14", "before 14"])
def test_the_role_that_can_back_up_and_nothing_else(server: PostgreSQLServer, page: str) -> None:
    become(server, page)
    manifest = create_backup()
    verify_backup(manifest.name)
    assert {table.name: table.rows for table in manifest.tables}["public.book"] == BOOKS
    findings = server.site.call("backup_check", "--json").json
    assert {finding["level"] for finding in findings if finding["subject"] == "default"} == {"OK"}
    before = server.text()
    with pytest.raises(RestoreFailed, match="must be owner of table"):
        restore_backup()
    fail_unless_equal(before, server.text())


@pytest.mark.parametrize(
    "change", ["DELETE FROM book", "UPDATE book SET title = ''", "DROP TABLE book", "CREATE DATABASE another"]
)
def test_it_changes_nothing(server: PostgreSQLServer, change: str) -> None:
    role = become(server, SINCE_14)
    with (
        closing(server.server.connect(server.databases["default"], user=role, password="choose one")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(change)


def test_a_table_made_later_is_read_too(server: PostgreSQLServer) -> None:
    """What the default privileges of the page are for."""
    become(server, CREATE_AND_CONNECT + BEFORE_14)
    server.run("CREATE TABLE later (id serial)", "INSERT INTO later VALUES (1)")
    assert {table.name: table.rows for table in create_backup().tables}["public.later"] == 1


def test_row_security_needs_what_the_page_says(server: PostgreSQLServer) -> None:
    role = become(server, SINCE_14.replace(" BYPASSRLS", ""))
    server.run("ALTER TABLE book ENABLE ROW LEVEL SECURITY")
    with pytest.raises(BackupError, match="row security"):
        create_backup()
    server.run(f"ALTER ROLE {role} BYPASSRLS")
    create_backup()


def test_large_objects_are_not_covered(server: PostgreSQLServer) -> None:
    become(server, SINCE_14)
    server.run("SELECT lo_from_bytea(7, 'x')")
    with pytest.raises(BackupError, match="large object"):
        create_backup()


BY_HAND = (Path(__file__).parents[3] / "docs" / "restore-by-hand.md").read_text()
SECTIONS = next(block for block in re.findall(r"```console\n(.*?)```", BY_HAND, re.DOTALL) if "--section" in block)


def test_around_an_object_that_cannot_be_restored(server: PostgreSQLServer, tmp_path: Path) -> None:
    """By hand, section by section."""
    server.run(
        "CREATE FUNCTION bare(value text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower(value)'",
        "CREATE FUNCTION plain(value text) RETURNS text LANGUAGE plpgsql IMMUTABLE "
        "AS $$ BEGIN RETURN bare(value); END $$",
        "CREATE TABLE product (id int PRIMARY KEY, name text, slug text GENERATED ALWAYS AS (plain(name)) STORED)",
        "INSERT INTO product VALUES (1, 'A')",
        "CREATE TABLE zterms (id int PRIMARY KEY)",
        "CREATE FUNCTION is_term(i int) RETURNS boolean LANGUAGE sql STABLE SET search_path = public "
        "AS $$ SELECT EXISTS (SELECT FROM zterms WHERE id = i) $$",
        "CREATE TABLE frames (id int PRIMARY KEY, term int REFERENCES zterms CHECK (is_term(term)))",
        "INSERT INTO zterms VALUES (1)",
        "INSERT INTO frames VALUES (1, 1)",
    )
    manifest = create_backup()
    with pytest.raises(RestoreFailed, match=r"docs/restore-by-hand\.md"):
        restore_backup()
    name = f"{server.databases['default']}_by_hand"
    (tmp_path / "archive").write_bytes((server.site.backups / manifest.archive_key).read_bytes())
    script = SECTIONS.replace("$ ", "").replace("restored", name)
    script = script.replace("default_20250115_020000_production.pgdump.gz", "archive")
    subprocess.run(["sh", "-e", "-c", script], cwd=tmp_path, env=server.environment(), check=True, capture_output=True)
    with server.server.connect(name) as connection:
        query = "SELECT slug, (SELECT count(*) FROM frames), (SELECT count(*) FROM book) FROM product"
        assert connection.execute(query).fetchone() == ("a", 1, BOOKS)
