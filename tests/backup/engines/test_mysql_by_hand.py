"""What the manifest and the pages say to type brings the data back, with stock tools and a shell alone."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_cfg.backup import create_backup, restore_backup
from tests.support.databases import BOOKS, fail_unless_equal
from tests.support.mysql_databases import MySQLServer

DOCS = Path(__file__).parents[3] / "docs"
NAME = "default_20250115_020000_production"


@pytest.fixture
def server(own_mysql_server: MySQLServer, tmp_path: Path) -> Iterator[MySQLServer]:
    """The user's option file names the server."""
    (tmp_path / ".my.cnf").write_text(
        f"[client]\nhost=127.0.0.1\nport={own_mysql_server.server.port}\nuser=root\n"
        f"password={own_mysql_server.server.PASSWORD}\n"
    )
    own_mysql_server.run("CREATE PROCEDURE work() SELECT 1", "CREATE VIEW titles AS SELECT title FROM book")
    own_mysql_server.server.sql("DROP DATABASE IF EXISTS restored")
    yield own_mysql_server
    own_mysql_server.server.sql("DROP DATABASE IF EXISTS restored")


def typed(server: MySQLServer, home: Path, script: str) -> subprocess.CompletedProcess[str]:
    """In the folder of the archive."""
    return subprocess.run(
        ["sh", "-c", script], cwd=server.site.backups, env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("compression", ["gzip", "zstd", "bz2", "xz", "none"])
def test_the_hint_restores_as_printed(server: MySQLServer, compression: str, tmp_path: Path) -> None:
    server.site.configure(compression=compression, filename_template="it's {database} {timestamp}")
    done = typed(server, tmp_path, create_backup().restore_hint)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("-- Dump completed on ")
    assert server.server.sql("SELECT COUNT(*) FROM restored.titles") == [(BOOKS,)]


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_the_hint_loads_no_half_archive(server: MySQLServer, compression: str, tmp_path: Path) -> None:
    """Of a pipe, a shell reports only how its last program ended: that would be well."""
    server.site.configure(compression=compression)
    manifest = create_backup()
    path = server.site.backups / manifest.archive_key
    path.write_bytes(path.read_bytes()[: -manifest.archive.size // 4])
    assert typed(server, tmp_path, manifest.restore_hint).returncode != 0
    assert server.server.sql("SHOW DATABASES LIKE 'restored'") == []


def test_the_page_restores_a_backup(server: MySQLServer, tmp_path: Path) -> None:
    manifest = create_backup()
    page = (DOCS / "restore-by-hand.md").read_text().partition("## MySQL and MariaDB")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    done = typed(server, tmp_path, "set -e\n" + block.replace("$ ", "").replace(NAME, manifest.name))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("-- Dump completed on ")
    assert server.server.sql("SELECT COUNT(*) FROM restored.titles") == [(BOOKS,)]


def test_the_page_brings_back_what_was_set_aside(server: MySQLServer) -> None:
    """Every table with its rows; what else there was is there as text."""
    server.run("CREATE SEQUENCE numbers", "CREATE TRIGGER old BEFORE INSERT ON book FOR EACH ROW SET @x = 1")
    create_backup()
    server.run("DELETE FROM book WHERE id > 9", "CREATE TABLE later (i int)", "CREATE VIEW later_view AS SELECT 1")
    before = server.text()
    aside = restore_backup().old_data
    assert aside
    database = server.databases["default"]
    server.run("DROP TRIGGER old", "DROP VIEW titles", "DROP PROCEDURE work")
    page = (DOCS / "restore.md").read_text().partition("## The old data")[2].partition("\n## ")[0]
    (block,) = (found for found in re.findall(r"```sql\n(.*?)```", page, re.DOTALL) if "django_cfg_backup" in found)
    edited = block.replace("shop__restore_old_20250115013000", aside).replace("shop_restored", f"{database}__out")
    make, widen, rename, kept = edited.replace("'shop'", f"'{database}'").strip().rstrip(";").split(";\n")
    ((moves,),) = server.server.sql(make, widen, rename)
    texts = server.server.sql(str(moves), kept)
    assert sorted(row[:2] for row in texts) == [
        ("procedure", "work"), ("trigger", "old"), ("view", "later_view"), ("view", "titles"),
    ]  # fmt: skip
    server.run(*(str(text) for _, _, text in texts))
    fail_unless_equal(before, server.text())
