"""A Django project of a test's own, inside the process of the tests."""

from __future__ import annotations

import io
import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django
import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections

from django_cfg import BackupConfig
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.creation.create import create_backup

ADMINS: list[Any] = ["ops@example.org"] if django.VERSION >= (6, 0) else [("Ops", "ops@example.org")]


@dataclass(frozen=True)
class Answer:
    """What a command left: its exit code, and what it wrote."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


class Site:
    """Settings, databases and a storage below *root*; everything is put back after the test."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.database = root / "db.sqlite3"
        self.backups = root / "backups"
        self.always: dict[str, Any] = {}
        self._patch = monkeypatch
        self.set(BASE_DIR=root)
        self.use_databases(default={"ENGINE": "django.db.backends.sqlite3", "NAME": str(self.database)})
        self.configure()

    def set(self, **values: Any) -> None:
        for name, value in values.items():
            self._patch.setattr(settings, name, value, raising=False)

    def configure(self, **parameters: Any) -> None:
        """``settings.BACKUP``: enabled, with *parameters* and those that hold always."""
        self.set(BACKUP=BackupConfig(**{"enabled": True, **self.always, **parameters}))

    def use_databases(self, **databases: dict[str, Any]) -> None:
        """``settings.DATABASES``; open connections are closed first."""
        self.close()
        self.set(DATABASES=databases)
        self._patch.setattr(connections, "_settings", None)
        connections.__dict__.pop("settings", None)
        for alias in databases:
            if hasattr(connections._connections, alias):
                del connections[alias]

    def close(self) -> None:
        connections.close_all()

    def create(self, alias: str = "default", **options: Any) -> Manifest:
        return create_backup(alias, **options)

    def call(self, command: str, *arguments: str, **options: Any) -> Answer:
        """Run a management command as manage.py would; errors set the exit code of the answer."""
        stdout, stderr = io.StringIO(), io.StringIO()
        code = 0
        try:
            call_command(command, *arguments, stdout=stdout, stderr=stderr, **options)
        except CommandError as error:
            stderr.write(str(error))
            code = error.returncode
        return Answer(code, stdout.getvalue(), stderr.getvalue())

    def sql(self, *statements: str, database: Path | None = None) -> list[Any]:
        """Run *statements* on the SQLite file, committed; the rows of the last one."""
        rows: list[Any] = []
        with closing(sqlite3.connect(database or self.database)) as connection, connection:
            for statement in statements:
                rows = connection.execute(statement).fetchall()
        return rows

    def content(self) -> list[str]:
        """All of the SQLite database but its history of restores, as SQL."""
        with closing(sqlite3.connect(self.database)) as connection:
            return [line for line in connection.iterdump() if "django_cfg_backup_run" not in line]

    def stored(self) -> list[str]:
        """The names of all files in the storage, hidden ones too."""
        return sorted(str(f.relative_to(self.backups)) for f in self.backups.rglob("*") if f.is_file())
