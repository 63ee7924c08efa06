"""SQLite files of a test's own."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.restore.kept_data import list_kept_data
from tests.support.databases import Server
from tests.support.django_project import Site

SQLITE = "django.db.backends.sqlite3"


class SQLiteServer(Server):
    def __init__(self, site: Site, journal_mode: str) -> None:
        super().__init__(site)
        self.use()
        site.sql(f"PRAGMA journal_mode = {journal_mode}")
        with closing(sqlite3.connect(site.root / "empty.sqlite3")) as connection:
            connection.execute("VACUUM")
        self.fill()

    def use(self, **changes: Any) -> None:
        """Let the project's settings of both databases have *changes*."""
        aliases = ("default", "empty")
        settings = {alias: {"ENGINE": SQLITE, "NAME": str(self.path(alias)), **changes} for alias in aliases}
        self.site.use_databases(**settings)

    def path(self, alias: str) -> Path:
        return self.site.database if alias == "default" else self.site.root / "empty.sqlite3"

    def run(self, *statements: str, alias: str = "default") -> list[Any]:
        with closing(sqlite3.connect(self.path(alias), timeout=30)) as connection, connection:
            rows = []
            for statement in statements:
                rows = connection.execute(statement).fetchall()
        return rows

    def table_names(self, alias: str = "default") -> list[str]:
        names = self.run("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'", alias=alias)
        return sorted(name for (name,) in names)

    def text(self, alias: str = "default") -> list[str]:
        """Structure and rows, without the history of runs."""
        with closing(sqlite3.connect(self.path(alias), timeout=30)) as connection:
            lines = [*connection.iterdump(), *map(str, connection.execute("PRAGMA journal_mode"))]
        return [line for line in lines if "django_cfg_backup_run" not in line]

    def leftovers(self) -> list[str]:
        return left_behind(self) + [path.name for path in kept(self)]


def kept(server: SQLiteServer) -> list[Path]:
    """The old data that restores have set aside, oldest first."""
    return sorted(Path(one.name) for one in list_kept_data(current_project()))  # type: ignore[union-attr]


def left_behind(server: SQLiteServer) -> list[str]:
    """What is of no use any more. (A journal that SQLite finds empty stays until somebody writes.)"""
    names = {path.name for path in server.site.root.iterdir()}
    useful = {
        "db.sqlite3",
        "db.sqlite3-wal",
        "db.sqlite3-shm",
        "db.sqlite3-journal",
        "backups",
        "empty.sqlite3",
        "old.sqlite3",
    }
    return sorted(names - useful - {path.name for path in kept(server)})
