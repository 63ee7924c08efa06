"""No program that fails, is killed or prints all that it knows brings a secret to light; nor does a restore."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from django_cfg.backup import create_backup
from tests.support.databases import DatabaseServer
from tests.support.mariadb_server import mariadb_program
from tests.support.mysql_databases import MySQLServer
from tests.support.postgresql_databases import PostgreSQLServer
from tests.support.processes import child_running, in_parallel, wait_until
from tests.support.secrets_places import Pair, on
from tests.support.secrets_scene import Scene

SQLITE, POSTGRESQL, MYSQL = Pair("sqlite local"), Pair("postgresql local"), Pair("mysql local")
DUMPS = pytest.mark.parametrize(
    ("pair", "program"),
    [(SQLITE, "gpg"), (POSTGRESQL, "pg_dump"), (MYSQL, "mariadb-dump")],
    indirect=["pair"],
)
RESTORES = pytest.mark.parametrize(
    ("pair", "program", "option"),
    [
        (SQLITE, "gpg", "--discard-old"),
        (POSTGRESQL, "pg_restore", "--discard-old"),
        (POSTGRESQL, "psql", "--in-place"),
        (MYSQL, "mariadb", "--discard-old"),
    ],
    indirect=["pair"],
)
KILLED = "kill -9 $$"
# All that it was given but what it reads: its environment, its option file, its passphrase.
TELLING = """
env | grep -i -e pass -e pwd >&2
for argument; do
    case "$argument" in
        --defaults-file=*) cat "${argument#*=}" >&2 ;;
        --passphrase-fd=*) cat "/dev/fd/${argument#*=}" >&2 ;;
    esac
done
exit 1
"""
ENDS = pytest.mark.parametrize("end", [KILLED, TELLING], ids=["killed", "telling"])


class Programs:
    """A folder with all the programs of the engine, some of which come to a bad end."""

    def __init__(self, scene: Scene, folder: Path) -> None:
        self.scene, self.folder = scene, folder
        folder.mkdir()
        server = scene.server
        found: list[Path] = []
        if isinstance(server, PostgreSQLServer):
            found = [path for path in server.server.programs.iterdir() if path.is_file()]
        elif isinstance(server, MySQLServer):
            found = [Path(mariadb_program(name)) for name in ("mariadb", "mariadb-dump")]
        for path in found:
            (folder / path.name).symlink_to(path)
        scene.configure(tools_dir=str(folder))

    def end(self, name: str, end: str) -> None:
        """Let the program *name* do what is in *end* instead, unless it is only asked about itself or the archive."""
        path = self.folder / name
        real = path.resolve() if path.exists() else shutil.which(name)
        path.unlink(missing_ok=True)
        only_asked = "*--version*|*--help*|*--import*|*--list*|*--no-data*"
        only_asked += "" if name == "psql" else "|*--file=*"  # which reads what it runs from there
        path.write_text(f'#!/bin/sh\ncase "$*" in {only_asked}) exec {real} "$@";; esac\n{end}\n')
        path.chmod(0o755)


@pytest.fixture
def programs(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    folder = tmp_path / "programs"
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return Programs(scene, folder)


def last_words(scene: Scene) -> str:
    return "\n".join(text for where, text in scene.texts.items() if "exception" in where)


@DUMPS
@ENDS
def test_a_dump(scene: Scene, programs: Programs, program: str, end: str) -> None:
    programs.end(program, end)
    scene.call("backup_create", "--json", code=1)
    scene.call("backup_tick", "--json", code=1)
    assert program in last_words(scene)
    assert ("***" in last_words(scene)) is (end is TELLING)


@RESTORES
def test_a_restore(scene: Scene, programs: Programs, program: str, option: str) -> None:
    create_backup()
    programs.end(program, TELLING)
    scene.call("backup_restore", "--yes", option, code=1)
    if program != "psql":  # which drills do without
        scene.call("backup_verify", "latest", "--drill", "--json", code=1)
    if program != "gpg":  # of whose words only the first line is printed
        assert "***" in last_words(scene)


@on([POSTGRESQL, MYSQL])
def test_the_forms_of_a_restore(scene: Scene, engine: str) -> None:
    """In place it is backed up first, which is printed, too."""
    name = create_backup().name
    for options in ("--in-place --json", "--to=empty", "--discard-old"):
        scene.call("backup_restore", name, "--yes", *options.split())
    if engine == "postgresql":
        scene.call("backup_restore", name, "--yes", "--tables", "book")
    scene.call("backup_list", "--json")


@dataclass(frozen=True)
class Ways:
    """How the databases of one kind are filled, and what loads them."""

    fill: str
    load: dict[str, str]  # by the option of the restore


WAYS = {
    "postgresql": Ways(
        "INSERT INTO book SELECT i, repeat('x', 90), 1 FROM generate_series(1000, 60000) i",
        {"--discard-old": "pg_restore", "--in-place": "psql"},
    ),
    "mysql": Ways(
        "INSERT INTO book SELECT seq, REPEAT('x', 90), 1 FROM seq_1000_to_60000",
        {"--discard-old": "mariadb", "--in-place": "mariadb"},
    ),
}


@on([POSTGRESQL, MYSQL])
@pytest.mark.parametrize("option", ["--discard-old", "--in-place"])
def test_a_program_that_is_killed_in_the_middle_of_a_restore(scene: Scene, engine: str, option: str) -> None:
    ways = WAYS[engine]
    scene.server.run(ways.fill)
    name = create_backup().name

    def kill() -> None:
        pid = wait_until(lambda: child_running(ways.load[option]))
        os.kill(pid, signal.SIGKILL)

    with in_parallel(kill):
        scene.call("backup_restore", name, "--yes", option, code=1)
    assert "killed by signal 9" in last_words(scene)
    scene.call("backup_restore", name, "--yes")


@on([POSTGRESQL, MYSQL])
def test_a_server_that_stops_in_the_middle_of_a_dump(scene: Scene, engine: str) -> None:
    server = scene.server
    assert isinstance(server, DatabaseServer)
    server.run(WAYS[engine].fill)
    create_backup()

    def stop() -> None:
        wait_until(lambda: child_running(server.dump_program))
        server.kill()

    with in_parallel(stop):
        scene.call("backup_create", "--json", code=1)
    for command in ("backup_create", "backup_check --json", "backup_tick --json", "backup_restore --yes"):
        scene.call(*command.split(), code=1)
    scene.call("backup_status", "--json")
