r"""psql is fed with pg_restore's text only after \restrict, which keeps it from running commands of an archive."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.base import RestoreOptions
from django_cfg.backup.engines.postgresql.archive_script import adapt_script
from django_cfg.backup.engines.postgresql.tools import Tools
from django_cfg.backup.errors import ToolTooOld
from django_cfg.backup.services.restore.restore import RestoreRequest, plan_restore
from tests.support.databases import fail_unless_equal
from tests.support.postgresql_databases import PostgreSQLServer

HEAD = b"--\n-- PostgreSQL database dump\n--\n\n"
KEY = b"\\restrict Abc123\n"
REST = (
    b"\nSET statement_timeout = 0;\n\nCOMMIT;\n\n--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict Abc123\n"
)


def test_a_script_that_restricts_psql() -> None:
    assert b"".join(adapt_script([HEAD + KEY + REST], 15)) == (HEAD + KEY + REST).replace(b"\nCOMMIT;", b"")


@pytest.mark.parametrize(
    "script",
    [
        HEAD + REST,
        HEAD + b"\\! touch /tmp/x\n" + KEY + REST,
        HEAD + b"SELECT 1;\n" + KEY + REST,
        HEAD + b"-- \\restrict Abc123\n" + REST,
        HEAD + b"\\restrict\n" + REST,
        HEAD + b"\\restrict a b\n" + REST,
    ],
)
def test_a_script_that_does_not(script: bytes) -> None:
    """In blocks of any size."""
    for size in (1, 7, len(script)):
        blocks = [script[start : start + size] for start in range(0, len(script), size)]
        with pytest.raises(ToolTooOld, match=r"13\.22, 14\.19, 15\.14, 16\.10, 17\.6, 18"):
            list(adapt_script(blocks, 15))


@pytest.mark.parametrize(
    ("version", "can"),
    [("13.21", False), ("13.22", True), ("15.13", False), ("15.14", True), ("15.18", True), ("16.9", False),
     ("17.10", True), ("18.0", True), ("18beta1", True), ("12.99", False), ("17rc1", False)],
)  # fmt: skip
def test_versions(version: str, can: bool) -> None:
    assert Tools(Path("/nowhere"), version).can_restrict_psql is can


def use_programs(server: PostgreSQLServer, folder: Path, **scripts: str) -> None:
    """Let wrappers of PostgreSQL's programs be used, made of shell *scripts*; the others as they are."""
    folder.mkdir()
    for name in ("pg_dump", "pg_restore", "psql"):
        real = server.server.programs / name
        wrapper = folder / name
        wrapper.write_text("#!/bin/sh\n" + scripts.get(name, 'exec PROGRAM "$@"\n').replace("PROGRAM", str(real)))
        wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    server.site.always = {"tools_dir": str(folder)}
    server.site.configure()


@pytest.mark.parametrize("options", [{"in_place": True}, {"tables": ["book"]}, {"skip_failing": True}])
def test_a_pg_restore_that_does_not_write_it(
    postgresql_server: PostgreSQLServer, tmp_path: Path, options: dict[str, Any]
) -> None:
    """It says that it has a version that does."""
    server = postgresql_server
    server.run("COMMENT ON TABLE book IS 'of the book'")
    create_backup()
    server.run("DELETE FROM book WHERE id > 10")
    before = server.text()
    use_programs(server, tmp_path / "bin", pg_restore="PROGRAM \"$@\" | sed '/^.restrict /d'")
    with pytest.raises(ToolTooOld, match="is not run, and the database was not touched"):
        restore_backup(discard_old=True, **options)
    fail_unless_equal(before, server.text())


@pytest.mark.parametrize(
    "options", [RestoreOptions(in_place=True), RestoreOptions(tables=("book",)), RestoreOptions(skip_failing=True)]
)
def test_an_old_one_is_refused_before_anything_is_read(
    own_postgresql_server: PostgreSQLServer, tmp_path: Path, options: RestoreOptions
) -> None:
    server = own_postgresql_server
    create_backup()
    version = f"if [ $1 = --version ]; then echo 'pg_dump (PostgreSQL) {server.server.major}.1'; exit; fi\n"
    use_programs(server, tmp_path / "bin", pg_dump=version)
    with pytest.raises(ToolTooOld, match=rf"pg_restore {server.server.major}\.1 does not keep psql"):
        plan_restore(RestoreRequest(options=options))
