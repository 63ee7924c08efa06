"""Old data and unfinished work of restores, in backup_status and backup_prune; and servers that do not answer."""

from __future__ import annotations

import fcntl
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_cfg.backup.engines.sqlite import SQLiteEngine
from django_cfg.backup.services.restore import kept_data
from tests.support.django_project import Site
from tests.support.processes import Stopwatch
from tests.support.stored_history import ONE_DAY, backups, daily, put
from tests.support.terminal import Terminal

SQLITE = "django.db.backends.sqlite3"


@pytest.fixture
def old_data(site: Site, books: Path) -> Path:
    """Old data that a restore has kept."""
    site.configure(schedule={"enabled": False})
    site.create()
    site.call("backup_restore", "latest", "--yes")
    (found,) = site.root.glob("db.sqlite3.before-restore-*")
    return found


@pytest.fixture
def scratch(site: Site, books: Path) -> Path:
    """Unfinished work of a killed restore, and one old backup that is due for deletion."""
    site.configure(retention=ONE_DAY, schedule={"enabled": False})
    put(*daily(2))
    folder = site.root / ".db.sqlite3.restoring"
    folder.mkdir(mode=0o700)
    (folder / "lock").touch()
    (folder / "scratch.sqlite3").write_bytes(b"x")
    return folder


@pytest.fixture
def silent_server() -> Iterator[int]:
    """Yield the port of a server that accepts connections and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


class TestStatus:
    def test_kept_data_is_shown_with_its_size_and_age(self, site: Site, old_data: Path) -> None:
        answer = site.call("backup_status")
        assert answer.code == 0
        assert f"Old data of default: {old_data}, " in answer.stdout
        assert "kept for 0 min." in answer.stdout
        (kept,) = site.call("backup_status", "--json").json["old_data"]
        assert (kept["database"], kept["name"], kept["size"]) == ("default", str(old_data), old_data.stat().st_size)

    def test_silent_servers_are_not_waited_for(
        self, site: Site, old_data: Path, silent_server: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not even many of them; the other servers are reported."""
        monkeypatch.setattr(kept_data, "PATIENCE", 1.0)
        silent = {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": "127.0.0.1",
            "PORT": silent_server,
            "USER": "x",
            "PASSWORD": "x",
        }
        site.use_databases(
            default={"ENGINE": SQLITE, "NAME": str(site.database)},
            **{f"silent{number}": {**silent, "NAME": f"shop{number}"} for number in range(3)},
        )
        site.configure(
            schedule={"enabled": False},
            databases=[{"alias": f"silent{number}", "enabled": False} for number in range(3)],
        )
        watch = Stopwatch()
        answer = site.call("backup_status", "--json")
        assert watch.seconds < 5
        assert answer.code == 0
        assert answer.json["old_data_unknown"] == ["silent0", "silent1", "silent2"]
        assert len(answer.json["old_data"]) == 1
        assert "old data of silent1 is not known: it did not answer within 1 s" in answer.stderr

    @pytest.mark.parametrize("code", [0, 4])
    def test_the_document_is_printed_whatever_a_driver_raises(
        self, site: Site, old_data: Path, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        def missing(self: SQLiteEngine) -> None:
            raise ImproperlyConfigured("Error loading the driver")

        monkeypatch.setattr(SQLiteEngine, "list_kept_data", missing)
        if code:
            next(site.backups.glob("*.gz")).unlink()
        answer = site.call("backup_status", "--json")
        assert answer.code == code
        assert answer.json["old_data_unknown"] == ["default"]
        assert "ImproperlyConfigured: Error loading the driver" in answer.stderr


class TestPrune:
    def test_without_confirmation_nothing_is_removed(
        self, site: Site, scratch: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.stdin", Terminal("n\n"))
        answer = site.call("backup_prune")
        assert f"A restore of default that died left {scratch}." in answer.stderr
        assert "Delete 1 backup (24 bytes) and what 1 dead restore left in" in answer.stderr
        assert answer.stderr.endswith("Nothing was done.")
        assert scratch.exists()
        assert len(backups(site)) == 2

    @pytest.mark.parametrize("arguments", [["--dry-run"], ["--dry-run", "--yes"], []], ids=" ".join)
    def test_without_a_question_unfinished_work_is_only_listed(
        self, site: Site, scratch: Path, arguments: list[str]
    ) -> None:
        answer = site.call("backup_prune", *arguments)
        assert f"left {scratch}." in answer.stderr
        assert "Removed" not in answer.stderr
        assert scratch.exists()

    def test_a_confirmation_removes_unfinished_work(
        self, site: Site, scratch: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.stdin", Terminal("y\n"))
        answer = site.call("backup_prune")
        assert f"Removed {scratch}, which a restore that died had left." in answer.stderr
        assert not scratch.exists()
        assert len(backups(site)) == 1

    def test_unfinished_work_is_offered_for_removal_without_due_backups(
        self, site: Site, scratch: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        site.call("backup_delete", "default_2", "--yes")
        monkeypatch.setattr("sys.stdin", Terminal("n\n"))
        assert "Delete what 1 dead restore left in" in site.call("backup_prune").stderr
        assert scratch.exists()

    def test_the_work_of_a_running_restore_is_not_listed(self, site: Site, scratch: Path) -> None:
        with (scratch / "lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            answer = site.call("backup_prune", "--yes")
        assert "dead" not in answer.stderr
        assert "died" not in answer.stderr
        assert scratch.exists()
