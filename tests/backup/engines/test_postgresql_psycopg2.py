"""Projects whose driver is psycopg 2: Django takes it where psycopg 3 is not installed, and so do our connections."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support import needs
from tests.support.database_servers import on_every_postgresql
from tests.support.databases import AUTHORS, BOOKS, fail_unless_equal
from tests.support.postgresql_databases import PostgreSQLServer
from tests.support.real_project import RealProject

SETTINGS = """
import sys
sys.modules["psycopg"] = None  # as where it is not installed
DATABASES.update({{"history": DATABASES["default"], "default": {default!r}}})
DATABASE_ROUTERS = ["settings.HistoryRouter"]
LOGGING_CONFIG = None


class HistoryRouter:
    def db_for_read(self, model, **hints):
        return "history"

    db_for_write = db_for_read
"""

DRIVER = """
from django.db import connections
connections["default"].ensure_connection()
print(type(connections["default"].connection).__module__)
"""


class Psycopg2Project(RealProject):
    """The database ``default`` of *server* by psycopg 2, and the history in SQLite."""

    def __init__(self, folder: Path, database: Path, server: PostgreSQLServer, **changes: str) -> None:
        super().__init__(
            folder,
            database,
            SETTINGS.format(default=server.server.settings(server.databases["default"], **changes)),
            tools_dir=str(server.server.programs),
            databases=[{"alias": "history", "enabled": False}],
            schedule={"enabled": False},
        )

    def succeed(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def server(postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
    if not find_spec("psycopg2"):
        needs.missing("psycopg2-binary is not installed")
    return postgresql_server


@pytest.fixture
def project(tmp_path: Path, migrated_database: Path, server: PostgreSQLServer) -> RealProject:
    return Psycopg2Project(tmp_path / "project", migrated_database, server)


@on_every_postgresql
def test_backup_restore_and_drill(project: Psycopg2Project, server: PostgreSQLServer) -> None:
    driver = project.succeed("shell", "--command", DRIVER)
    assert "psycopg2" in driver
    before = server.text()
    findings = json.loads(project.run("backup_check", "--json").stdout)
    assert {line["level"] for line in findings if line["subject"] == "default"} == {"OK"}
    project.succeed("backup_create", "default")
    assert "good" in project.succeed("backup_verify")
    assert "proved" in project.succeed("backup_verify", "latest", "--drill")
    server.run("DELETE FROM book", "DELETE FROM author")
    project.succeed("backup_restore", "latest", "--to", "default", "--yes")
    fail_unless_equal(before, server.text())
    server.run("DELETE FROM book")
    project.succeed("backup_restore", "latest", "--to", "default", "--yes", "--tables", "book")
    fail_unless_equal(before, server.text())
    server.run("DELETE FROM book")
    project.succeed("backup_restore", "latest", "--to", "default", "--yes", "--in-place", "--discard-old")
    fail_unless_equal(before, server.text())
    assert (server.count("book"), server.count("author")) == (BOOKS, AUTHORS)


def test_its_errors_are_explained(tmp_path: Path, migrated_database: Path, server: PostgreSQLServer) -> None:
    """The driver's classes are others; advice, fault and silence about rows are the same."""
    wrong = Psycopg2Project(tmp_path / "wrong", migrated_database, server, PASSWORD="hunter2")
    done = wrong.run("backup_create", "default")
    assert done.returncode == 1
    assert "Correct USER and PASSWORD in DATABASES" in done.stderr
    assert "hunter2" not in done.stderr
    lost = Psycopg2Project(tmp_path / "lost", migrated_database, server, NAME="nosuch")
    assert (
        "it is right and the database is lost, create it: createdb nosuch"
        in lost.run("backup_create", "default").stderr
    )
    reader = server.role("reader", "LOGIN PASSWORD 's3cret-owner'")
    poor = Psycopg2Project(tmp_path / "poor", migrated_database, server, USER=reader)
    assert "GRANT pg_read_all_data" in poor.run("backup_create", "default").stderr


def test_a_failing_query_of_a_drill_says_nothing_of_a_row(project: Psycopg2Project, server: PostgreSQLServer) -> None:
    server.run("UPDATE book SET title = 'hunter2' WHERE id = 1")
    project.succeed("backup_create", "default")
    settings = project.folder / "settings.py"
    query = "SELECT title::int FROM book ORDER BY id LIMIT 1"
    text = settings.read_text()
    config = f"'verification_queries': [{query!r}], 'alias': 'default'"
    settings.write_text(text.replace("'databases': [", f"'databases': [{{{config}}}, "))
    done = project.run("backup_verify", "latest", "--drill")
    assert done.returncode == 1
    assert "invalid input syntax for type integer" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
