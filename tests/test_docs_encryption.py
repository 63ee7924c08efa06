"""docs/encryption.md: its commands, run as they stand there, by a server and two other machines."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.gnupg_home import Home
from tests.support.real_project import REPOSITORY, MakeProject

PAGE = (Path(__file__).parents[1] / "docs" / "encryption.md").read_text()
NAME = "default_20250115_020000_production"
PASSPHRASE = "of the shop's private key"


class Machine:
    """A folder to work in, and a keyring of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.home = folder, Home()
        self.home.answer_with(PASSPHRASE)

    def run(self, commands: str) -> str:
        """What a shell prints to *commands*, none of which may fail."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", f"set -e -o pipefail\n{commands}"],
            cwd=self.folder, env={**self.home.environment, "PATH": path, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def machines() -> Iterator[list[Machine]]:
    """Those a test has made; their agents are ended."""
    made: list[Machine] = []
    yield made
    for machine in made:
        machine.home.remove()


def blocks() -> list[tuple[str, str]]:
    """Where each shell block is run, and what it says."""
    return re.findall(r"```sh\n# on (.*?)\n(.*?)```", PAGE, re.DOTALL)


def test_every_shell_block_says_where_it_is_run() -> None:
    assert PAGE.count("```sh\n") == len(blocks())
    assert {where for where, _ in blocks()} == {"the server", "your own machine", "another machine"}


def test_the_page_makes_a_key_encrypts_and_recovers(
    tmp_path: Path, real_project: MakeProject, machines: list[Machine]
) -> None:
    """In the order of the page: key, backup, verify, restore, another machine, extension."""
    admins = 'ADMINS = [("Ops", "ops@example.org")]\n'
    project = real_project(admins, encryption_key="file:/etc/shop/backups.asc")
    settings = project.folder / "settings.py"
    settings.write_text(settings.read_text().replace("/etc/shop/", f"{project.folder}/"))
    own, server, another = Machine(tmp_path / "own"), Machine(project.folder), Machine(tmp_path / "another")
    machines += [own, server, another]
    by_name = {"the server": server, "your own machine": own, "another machine": another}
    with closing(sqlite3.connect(project.database)) as connection, connection:
        connection.execute("INSERT INTO django_content_type (id, app_label, model) VALUES (9999, 'shop', 'book')")
    said = []
    for where, commands in blocks():
        _carry(own.folder, server.folder, another.folder)
        name = next((path.stem for path in project.backups.glob("*.json")), NAME) if project.backups.exists() else NAME
        said.append(by_name[where].run(commands.replace(NAME, name)))
    everything = "\n".join(said)
    assert "a probe was encrypted; the private key is not on this machine" in everything
    assert f"{name}: good" in everything
    assert "default is now as in" in everything
    assert "\nok\n" in everything
    with closing(sqlite3.connect(another.folder / "restored.sqlite3")) as connection:
        assert connection.execute("SELECT count(*) FROM django_content_type WHERE id = 9999").fetchone() == (1,)
    assert [path.suffix for path in sorted(project.backups.iterdir())] == [".json", ".gpg"]


def _carry(own: Path, server: Path, another: Path) -> None:
    """What the page says in words: the public key goes to the server, backups and the private key to the others."""
    if (own / "backups.asc").exists():
        shutil.copy(own / "backups.asc", server)
    if not (server / "backups").exists():
        return
    (server / "passphrase").write_text(PASSPHRASE)
    shutil.copy(own / "backups-private.asc", server)
    shutil.copy(own / "backups-private.asc", another)
    for file in ("manage.py", "settings.py"):
        shutil.copy(server / file, own)
    shutil.copytree(server / "backups", own / "backups", dirs_exist_ok=True)
    shutil.copytree(server / "backups", another, dirs_exist_ok=True)


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
def test_every_example_builds(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from django_cfg import BackupConfig

    (tmp_path / "backups.asc").write_text("in the place of a key")
    monkeypatch.setenv("BACKUP_PASSPHRASE", "correct horse battery staple")
    exec(block.replace("/etc/shop/", f"{tmp_path}/"), {"BackupConfig": BackupConfig})  # noqa: S102
