"""docs/from-django-dbbackup.md: its commands restore archives in the forms that django-dbbackup writes for SQLite."""

from __future__ import annotations

import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import needs

PAGE = Path(__file__).parents[1] / "docs" / "from-django-dbbackup.md"
NAME = "default-host-2025-01-15-020000.dump"
# As its SqliteConnector writes: each definition in one line, each row in one INSERT, a line break in a value as it is.
SQL = """\
CREATE TABLE IF NOT EXISTS "book" ("id" integer PRIMARY KEY AUTOINCREMENT, "title" varchar(100) NOT NULL);
INSERT OR REPLACE INTO "book" VALUES(1,'one
''two''); three');
INSERT OR REPLACE INTO "book" VALUES(2,'four');
CREATE INDEX IF NOT EXISTS "book_title" ON "book" ("title");
"""


def restore(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the page's commands for SQLite in *folder*."""
    needs.program("sqlite3")
    (script,) = re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return subprocess.run(["sh", "-ec", script], cwd=folder, capture_output=True, text=True, check=False)


def books(folder: Path) -> list[tuple[int, str]]:
    with closing(sqlite3.connect(folder / "restored.sqlite3")) as connection:
        return connection.execute("SELECT id, title FROM book ORDER BY id").fetchall()


@pytest.mark.parametrize("form", ["SQL", "a copy of the file"])
def test_an_archive_is_restored_by_hand(tmp_path: Path, form: str) -> None:
    (tmp_path / NAME).write_text(SQL)
    if form != "SQL":
        with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as connection:
            connection.executescript(SQL)
        (tmp_path / "db.sqlite3").rename(tmp_path / NAME)
    done = restore(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["ok", "book"]
    assert books(tmp_path) == [(1, "one\n'two'); three"), (2, "four")]


def test_a_truncated_statement_restores_nothing(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(SQL[: SQL.index("four")])
    assert restore(tmp_path).returncode != 0
    with closing(sqlite3.connect(tmp_path / "restored.sqlite3")) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
