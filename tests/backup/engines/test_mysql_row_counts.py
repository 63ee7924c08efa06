"""Counts that cannot be sure are not claimed to be: they are reported, and not compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from django_cfg.backup import create_backup, restore_backup, verify_backup
from django_cfg.backup.manifest import Manifest
from tests.support.databases import AUTHORS, BOOKS
from tests.support.mariadb_server import mariadb_program
from tests.support.mysql_databases import MySQLServer

_MORE = "INSERT INTO book SELECT seq, 'late', 1 FROM seq_1000_to_1049"  # 50
_LESS = "DELETE FROM book WHERE id >= 1000 LIMIT {}"
_ON_ONE_LINE = "sed -e ':again' -e '/VALUES$/{N;s/VALUES.(/VALUES (/;b again' -e '}'"  # as mysqldump writes rows


@pytest.fixture
def server(mysql_server: MySQLServer) -> MySQLServer:
    return mysql_server


def backed_up(
    server: MySQLServer, folder: Path, *, before: str = "", after: str = "", through: str = "cat"
) -> Manifest:
    """A backup during which somebody writes: between our first look and the program's, and between that and our second.

    :param through: what the dump passes through.
    """
    port, password = server.server.port, server.server.PASSWORD
    where = f"--no-defaults -h127.0.0.1 -P{port} -uroot -p{password} {server.databases['default']}"
    client = f"{mariadb_program('mariadb')} {where}"
    script = folder / "mariadb-dump"
    script.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *--help*|*--version*) exec {mariadb_program("mariadb-dump")} "$@";; esac\n'
        f'{client} -e "{before}" && {mariadb_program("mariadb-dump")} "$@" > {folder}/dump && '
        f'{client} -e "{after}" && {through} {folder}/dump\n'
    )
    script.chmod(0o755)
    server.site.always = {"tools_dir": str(folder)}
    server.site.configure(compression="none")
    try:
        return create_backup()
    finally:
        server.site.always = {}
        server.site.configure()


def counts(manifest: Manifest) -> dict[str, tuple[int, bool]]:
    return {table.name: (table.rows, table.exact) for table in manifest.tables}


def test_a_dump_that_lies_between_is_counted_itself(
    server: MySQLServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows came before the program looked, and more came after: what passed is what is counted."""
    late = _MORE.replace("seq_1000_to_1049", "seq_2000_to_2049")
    manifest = backed_up(server, tmp_path, before=_MORE, after=late)
    assert counts(manifest) == {"author": (AUTHORS, True), "book": (BOOKS + 50, True)}
    assert "not exact" not in caplog.text
    restore_backup()
    assert server.count("book") == BOOKS + 50


def test_a_dump_that_fits_neither_is_not_exact(
    server: MySQLServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It holds more rows than were there before and after: that is odd, and reported; a restore does not stop at it."""
    manifest = backed_up(server, tmp_path, before=_MORE, after=_LESS.format(40))
    assert counts(manifest) == {"author": (AUTHORS, True), "book": (BOOKS + 50, False)}
    assert "book: rows were written while the dump began, so their counts are not exact" in caplog.text
    path = server.site.backups / manifest.key
    path.write_text(path.read_text().replace(f'"rows": {BOOKS + 50}', f'"rows": {BOOKS}'))
    verify_backup()
    restore_backup()
    assert server.count("book") == BOOKS + 50


def test_rows_that_share_a_line_are_exact_only_where_nothing_was_written(server: MySQLServer, tmp_path: Path) -> None:
    manifest = backed_up(server, tmp_path, before=_MORE, through=_ON_ONE_LINE)
    assert counts(manifest) == {"author": (AUTHORS, True), "book": (BOOKS, False)}
    verify_backup()
    restore_backup()
    assert server.count("book") == BOOKS + 50
    server.run("DELETE FROM book WHERE id > 200")
    assert counts(backed_up(server, tmp_path, through=_ON_ONE_LINE))["book"] == (BOOKS, True)
