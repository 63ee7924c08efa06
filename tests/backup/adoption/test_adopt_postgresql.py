"""Dumps that pg_dump made without this package, adopted with a server."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from django_cfg.backup import drill_backup, restore_backup, verify_backup
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.catalog.catalog import read_catalog
from django_cfg.backup.services.project.project import current_project
from tests.backup.adoption.conftest import Adopt
from tests.support.databases import AUTHORS, BOOKS
from tests.support.postgresql_databases import PostgreSQLServer

DBBACKUP = "default-web1-2026-01-31-020000.psql.bin"  # as django-dbbackup names what PgDumpBinaryConnector writes


def dump(server: PostgreSQLServer, path: Path, *options: str) -> Path:
    server.tool("pg_dump", server.databases["default"], f"--file={path}", *options)
    return path


def adopted() -> Manifest:
    (manifest,) = read_catalog(current_project().storage).backups
    return manifest


@pytest.mark.parametrize("options", [[], ["--compress=0"], ["--no-owner", "--no-acl"]], ids=["usual", "plain", "bare"])
def test_a_dump_of_pg_dump_becomes_a_backup(
    postgresql_server: PostgreSQLServer, old: Path, adopt: Adopt, options: list[str]
) -> None:
    """Its rows are counted, and it brings the database back as it was."""
    server = postgresql_server
    before = server.text()
    answer = adopt(dump(server, old / DBBACKUP, "--format=custom", *options))
    assert answer.code == 0, answer.stderr
    manifest = adopted()
    rows = {table.name: table.rows for table in manifest.tables}
    assert (rows["public.author"], rows["public.book"]) == (AUTHORS, BOOKS)
    assert manifest.engine.server_version == server.run("SHOW server_version")[0][0].split()[0]
    assert manifest.engine.tool == "pg_dump"
    assert manifest.excluded == ()
    assert server.leftovers() == []
    assert verify_backup() == manifest
    assert drill_backup().succeeded
    server.run("DELETE FROM book")
    restore_backup()
    assert server.text() == before


@pytest.mark.parametrize("postgresql", ["oldest"], indirect=True)
def test_a_dump_of_an_older_version(postgresql_server: PostgreSQLServer, old: Path, adopt: Adopt) -> None:
    """The layout of the custom format has changed with the versions of pg_dump."""
    server = postgresql_server
    reader = server.role("reader")
    server.run(f"GRANT SELECT ON author TO {reader}")
    answer = adopt(dump(server, old / DBBACKUP, "--format=custom"))
    assert answer.code == 0, answer.stderr
    manifest = adopted()
    assert manifest.engine.tool_version == server.run("SHOW server_version")[0][0].split()[0]
    assert reader in manifest.engine.roles
    assert {table.name: table.rows for table in manifest.tables}["public.book"] == BOOKS


def test_a_dump_that_django_dbbackup_has_compressed(
    postgresql_server: PostgreSQLServer, old: Path, adopt: Adopt
) -> None:
    found = old / f"{DBBACKUP}.gz"
    found.write_bytes(gzip.compress(dump(postgresql_server, old / DBBACKUP, "--format=custom").read_bytes()))
    assert adopt(found).code == 0
    assert adopted().archive.key.endswith(".pgdump.gz")


def test_roles_that_are_gone_are_known_from_the_dump(
    postgresql_server: PostgreSQLServer, old: Path, adopt: Adopt
) -> None:
    """Owners, grantees and the roles of policies: where they are missing, the rest is restored without them."""
    server = postgresql_server
    owner, reader, guarded = server.role("owner"), server.role("reader"), server.role('"of policy"')
    server.run(
        f"ALTER TABLE book OWNER TO {owner}",
        f"GRANT SELECT ON author TO {reader}",
        f"CREATE POLICY mine ON author TO {guarded} USING (name <> 'FROM nowhere TO elsewhere')",
    )
    found = dump(server, old / DBBACKUP, "--format=custom")
    server.run(
        "DROP POLICY mine ON author", f"REVOKE ALL ON author FROM {reader}", "ALTER TABLE book OWNER TO CURRENT_USER"
    )
    for name in (owner, reader, guarded):
        server.server.sql(f"DROP ROLE {name}")
    answer = adopt(found)
    assert answer.code == 0, answer.stderr
    assert {owner, reader, guarded.strip('"')} <= set(adopted().engine.roles)
    assert "nowhere" not in adopted().engine.roles
    assert "elsewhere" not in adopted().engine.roles


def test_tables_that_were_left_out_are_said(postgresql_server: PostgreSQLServer, old: Path, adopt: Adopt) -> None:
    answer = adopt(dump(postgresql_server, old / DBBACKUP, "--format=custom", "--exclude-table-data=book"))
    assert answer.code == 0, answer.stderr
    assert "no rows of public.book" in answer.stderr
    assert adopted().excluded == ("public.book",)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--format=plain"], ["plain SQL", "psql -X", "backup_create"]),
        (["--format=tar"], ["tar format", "pg_restore"]),
        (["--format=custom", "--schema-only"], ["rows of no table", "--schema-only"]),
        (["--format=custom", "--data-only"], ["definition of no table", "--data-only"]),
    ],
    ids=["plain", "tar", "schema-only", "data-only"],
)
def test_a_dump_that_restores_no_database_is_refused(
    postgresql_server: PostgreSQLServer, old: Path, adopt: Adopt, options: list[str], words: list[str]
) -> None:
    answer = adopt(dump(postgresql_server, old / "default-web1-2026-01-31-020000.psql", *options))
    assert answer.code == 1
    for word in words:
        assert word in answer.stderr
    assert postgresql_server.stored() == []


@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_a_dump_that_was_cut_short_is_refused(
    postgresql_server: PostgreSQLServer, old: Path, adopt: Adopt, kept: float
) -> None:
    found = dump(postgresql_server, old / DBBACKUP, "--format=custom")
    found.write_bytes(found.read_bytes()[: int(found.stat().st_size * kept)])
    answer = adopt(found)
    assert answer.code == 1
    assert "not adopted" in answer.stderr
    assert postgresql_server.stored() == []


def test_a_dump_that_the_server_does_not_take_leaves_nothing(
    postgresql_server: PostgreSQLServer, old: Path, adopt: Adopt
) -> None:
    """Complete by its format, and no database comes of it: a table of the dump refers to one that is not in it."""
    answer = adopt(dump(postgresql_server, old / DBBACKUP, "--format=custom", "--table=book"))
    assert answer.code == 1
    assert "nothing was stored" in answer.stderr
    assert postgresql_server.stored() == []
    assert postgresql_server.leftovers() == []
