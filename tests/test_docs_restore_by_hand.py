"""docs/restore-by-hand.md: its commands, run unchanged, restore the data."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from django_cfg.backup import create_backup
from tests.support.django_project import Site

PAGE = Path(__file__).parents[1] / "docs" / "restore-by-hand.md"
NAME = "default_20250115_020000_production"


def commands(name: str) -> list[str]:
    """The shell blocks of the page, in order, for the backup *name*."""
    return [block.replace(NAME, name) for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)]


def test_the_commands_restore_a_backup_with_a_shell_only(site: Site, books: Path, tmp_path: Path) -> None:
    manifest = create_backup()
    elsewhere = tmp_path / "another machine"
    shutil.copytree(site.backups, elsewhere)
    (elsewhere / "db.sqlite3").write_bytes(b"damaged")
    (elsewhere / "db.sqlite3-wal").write_bytes(b"stale")
    script = "set -e\n" + "\n".join(commands(manifest.name))
    done = subprocess.run(["sh", "-c", script], cwd=elsewhere, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    recorded, counted = (
        re.search(r'"sha256": "(\w+)"', done.stdout),
        re.search(r"^(\w{64})  ", done.stdout, re.MULTILINE),
    )
    assert recorded
    assert counted
    assert recorded[1] == counted[1]
    assert "\nok\n" in done.stdout
    assert site.sql("SELECT count(*) FROM book", database=elsewhere / "db.sqlite3") == [(200,)]
    assert sorted(path.name for path in (elsewhere / "old").iterdir()) == ["db.sqlite3", "db.sqlite3-wal"]


@pytest.mark.parametrize("compression", ["gzip", "zstd", "bz2", "xz", "none"])
def test_the_hint_of_the_manifest_restores_as_printed(site: Site, books: Path, compression: str) -> None:
    site.configure(compression=compression)
    manifest = create_backup()
    subprocess.run(["sh", "-c", manifest.restore_hint], cwd=site.backups, check=True)
    with closing(sqlite3.connect(site.backups / "restored.sqlite3")) as connection:
        assert connection.execute("SELECT count(*) FROM book").fetchone() == (200,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
