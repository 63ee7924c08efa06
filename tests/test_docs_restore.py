"""docs/restore.md: its commands restore the data from the storage alone, and every command is valid."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import load_command_class

from django_cfg.backup import create_backup
from django_cfg.backup.manifest import Manifest
from tests.support.django_project import Site
from tests.support.postgresql_databases import PostgreSQLServer

PAGE = (Path(__file__).parents[1] / "docs" / "restore.md").read_text()
NAME = "default_20250115_020000_production"
DISASTER = PAGE[PAGE.index("## Disaster") : PAGE.index("## How each engine")]
SQLITE = '{"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}'


def recover(folder: Path, storage: Path, manifest: Manifest, **replaced: str) -> str:
    """Run the section's commands in *folder*, new and empty, where the storage has been copied to."""
    script = "set -e\n" + "\n".join(re.findall(r"```sh\n(.*?)```", DISASTER, re.DOTALL))
    for old, new in {NAME: manifest.name, "/mnt/backups": str(storage), **replaced}.items():
        assert old in script
        script = script.replace(old, new)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO", "ENV_MODE"))}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", script], cwd=folder, env={**kept, "PATH": path, "PYTHONWARNINGS": "error"}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "another machine"
    path.mkdir()
    return path


def test_disaster_recovery_from_the_storage_alone(site: Site, books: Path, folder: Path, tmp_path: Path) -> None:
    manifest = create_backup()
    storage = tmp_path / "copy of the storage"
    shutil.copytree(site.backups, storage)
    said = recover(folder, storage, manifest)
    assert f"{manifest.name}  " in said
    assert f"{manifest.started_at:%Y-%m-%d %H:%M:%S} UTC" in said
    assert site.sql("SELECT count(*) FROM book", database=folder / "db.sqlite3") == [(200,)]


def test_disaster_recovery_on_postgresql(site: Site, folder: Path, postgresql_server: PostgreSQLServer) -> None:
    """On a server without the database."""
    server, name = postgresql_server.server, f"brought_back_{postgresql_server.databases['default']}"
    manifest = create_backup()
    postgresql_server.drop()
    settings = repr(server.settings(name))
    tools = f'enabled=True, tools_dir="{server.programs}"'
    recover(folder, site.backups, manifest, **{SQLITE: settings, "enabled=True": tools})
    assert server.sql("SELECT count(*) FROM book", database=name) == [(200,)]


COMMANDS = re.findall(r"^\$ python manage\.py (.*)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_can_be_parsed(line: str) -> None:
    name, *arguments = shlex.split(line)
    parser = load_command_class("django_cfg.backup", name).create_parser("manage.py", name)
    parser.parse_args(arguments)


def test_every_python_block_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        exec(block.replace("@receiver(restore_checked)", ""), {})  # noqa: S102
