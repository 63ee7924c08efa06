"""The old data of SQLite around a switch: if in doubt it is kept; what cannot be saved is not replaced."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.sqlite import kept_data, staging
from django_cfg.backup.engines.sqlite.kept_data import OldData
from django_cfg.backup.errors import RestoreFailed, RestoreRefused
from tests.support import sanitizers
from tests.support.django_project import Site
from tests.support.sqlite_databases import SQLiteServer, kept, left_behind


@pytest.fixture(params=["delete", "wal"])
def server(site: Site, request: pytest.FixtureRequest) -> SQLiteServer:
    return SQLiteServer(site, request.param)


def full(*arguments: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def assert_refused(server: SQLiteServer, error: type[Exception], message: str) -> None:
    """A restore ends so, and the present data is as it was."""
    create_backup()
    server.run("DELETE FROM book WHERE id > 10")
    with pytest.raises(error, match=message):
        restore_backup()
    assert server.count("book") == 10
    assert (left_behind(server), kept(server)) == ([], [])


def test_old_data_that_cannot_be_saved_is_not_replaced(server: SQLiteServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_data, "sync", full)
    said = r"The old data of .*db\.sqlite3 could not be saved: No space left on device\. The database is as it was\."
    assert_refused(server, RestoreFailed, said)


def test_a_program_that_cannot_copy_the_old_data(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own words say why."""
    server = SQLiteServer(site, "delete")
    programs = site.root.parent / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "cp").write_text("#!/bin/sh\necho 'cp: quota exceeded' >&2\nexit 1\n")
    (programs / "cp").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    assert_refused(server, RestoreFailed, r"could not be saved: cp: quota exceeded\. The database is as it was\.")


def test_a_scratch_file_that_cannot_be_written(server: SQLiteServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "pump", full)
    said = r"The scratch file .* could not be written: No space left on device\. The database 'default' was not touched"
    assert_refused(server, RestoreFailed, said)


def test_a_scratch_folder_that_cannot_be_made(site: Site) -> None:
    server = SQLiteServer(site, "delete")
    create_backup()
    (site.root / ".db.sqlite3.restoring").write_text("a file of another program")
    with pytest.raises(RestoreRefused, match=r"The scratch folder .*\.db\.sqlite3\.restoring cannot be used: "):
        restore_backup()
    assert server.count("book") == 200


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, r"The folder .*new of the database 'copy' is missing: create it\."),
        (
            lambda path: path.mkdir(parents=True),
            r"copy\.sqlite3, the NAME of the database 'copy', is a folder: correct",
        ),
    ],
    ids=["no folder", "a folder"],
)
def test_where_no_database_can_be(site: Site, books: Path, make: Callable[[Path], object], said: str) -> None:
    path = site.root / "new" / "copy.sqlite3"
    make(path)
    default = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(site.database)}
    create_backup()
    site.use_databases(default=default, copy={**default, "NAME": str(path)})
    with pytest.raises(RestoreRefused, match=said):
        restore_backup(to="copy")


class TestRecovery:
    """What a restore has left that died around its switch."""

    @pytest.fixture
    def old_data(self, books: Path, tmp_path: Path) -> OldData:
        """A copy of the present data, as before a switch."""
        workspace = tmp_path / "workspace"
        workspace.mkdir()
        old_data = OldData(books, workspace)
        old_data.copy(wal=False)
        return old_data

    def kept(self, books: Path) -> list[Path]:
        return list(books.parent.glob("db.sqlite3.before-restore-*"))

    def test_of_a_database_that_is_not_replaced_it_is_of_no_use(self, old_data: OldData, books: Path) -> None:
        before = books.read_bytes()
        old_data.recover()
        assert (old_data.exists, self.kept(books), books.read_bytes()) == (False, [], before)

    @pytest.mark.parametrize("damage", ["lost", "changed", "no database"])
    def test_of_a_database_in_doubt_it_is_kept(self, old_data: OldData, books: Path, damage: str) -> None:
        before = books.read_bytes()
        match damage:
            case "lost":
                books.unlink()
            case "changed":
                with closing(sqlite3.connect(books)) as connection:
                    connection.execute("CREATE TABLE more (id integer)")
            case "no database":
                books.write_bytes(b"no database" * 100)
        old_data.recover()
        (path,) = self.kept(books)
        assert (path.read_bytes(), old_data.exists) == (before, False)

    def test_the_file_itself_keeps_its_journals(self, books: Path, tmp_path: Path) -> None:
        """They had been moved away, and the switch has not happened."""
        workspace = tmp_path / "workspace"
        workspace.mkdir()
        journal, before = Path(f"{books}-journal"), books.read_bytes()
        journal.write_bytes(b"the journal")
        old_data = OldData(books, workspace)
        old_data.link()
        assert not journal.exists()
        old_data.recover()
        assert (books.read_bytes(), journal.read_bytes()) == (before, b"the journal")
        assert (old_data.exists, self.kept(books)) == (False, [])

    def test_without_any_data_nothing_is_kept(self, books: Path, tmp_path: Path) -> None:
        """Of a database that did not exist."""
        workspace = tmp_path / "workspace"
        workspace.mkdir()
        books.unlink()
        old_data = OldData(books, workspace)
        old_data.link()
        old_data.recover()
        assert (old_data.exists, self.kept(books)) == (False, [])


def test_a_sanitizer_that_leaves_a_connection_open(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file cannot be written again then, and would hold what the rows were before."""
    server = SQLiteServer(site, "delete")
    server.use(OPTIONS={"timeout": 0.1})
    create_backup()
    server.run("UPDATE author SET name = 'present'")
    with pytest.raises(RestoreFailed, match=r"could not be separated from what it was before .*left a connection open"):
        restore_backup(sanitize="tests.support.sanitizers.leave_a_connection_open")
    sanitizers.left_open.pop().close()
    assert server.run("SELECT DISTINCT name FROM author") == [("present",)]
