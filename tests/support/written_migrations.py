"""Migrations that a test writes for the app ``sessions`` of the tests' project."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.test import override_settings

_MIGRATION = """
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = {dependencies}
    operations = [migrations.RunSQL({forwards!r}, {backwards!r})]
"""


class WrittenMigrations:
    """The folder of the migrations, each after the one before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last = ""

    def write(self, name: str, forwards: str, backwards: str = "") -> None:
        dependencies = [("sessions", self._last)] if self._last else []
        text = _MIGRATION.format(dependencies=dependencies, forwards=forwards, backwards=backwards)
        (self._folder / f"{name}.py").write_text(text)
        self._last = name


@contextmanager
def written_migrations(folder: Path) -> Iterator[WrittenMigrations]:
    """Take the migrations of ``sessions`` from *folder*, and those of no other app, for the length of the block."""
    package = folder / "written_migrations"
    package.mkdir()
    (package / "__init__.py").touch()
    modules = {"contenttypes": None, "auth": None, "django_cfg_backup": None, "sessions": package.name}
    sys.path.insert(0, str(folder))
    try:
        with override_settings(MIGRATION_MODULES=modules):
            yield WrittenMigrations(package)
    finally:
        sys.path.remove(str(folder))
        for module in [name for name in sys.modules if name.startswith(package.name)]:
            del sys.modules[module]
