"""Two backups of one source never run at the same time, and no crash locks the source permanently."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup import signals
from django_cfg.backup.errors import AlreadyRunning, StorageError
from django_cfg.backup.models import Run
from django_cfg.backup.process.deferred_signals import defer_signals
from django_cfg.backup.services.catalog.places import list_backups
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.progress import SILENT, LiveProgress
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.runs import heartbeat, lease
from django_cfg.backup.services.runs.file_lock import _path, holder_lives, source_lock
from django_cfg.backup.services.schedule.tick import tick
from tests.support.django_project import Site
from tests.support.processes import wait_until
from tests.support.real_project import SLOW, MakeProject
from tests.support.stopped_clock import Clock


def lock(site: Site) -> Any:
    project = current_project()
    return source_lock(project, project.source("default"), "backup")


@pytest.fixture
def other_machine(site: Site, books: Path) -> Run:
    """A run of the same source on a machine whose lock file we do not see."""
    return running(lock_file="another machine:1:2", host="db2")


def running(**values: Any) -> Run:
    facts = {"project": "tests", "env": "test", "database": "default", "lease": True, "name": "default_1"}
    return Run.objects.create(**facts | {"heartbeat_at": clock.now(), "started_at": clock.now()} | values)


class TestOnOneMachine:
    def test_a_second_backup_is_refused(self, site: Site, books: Path) -> None:
        with lock(site), pytest.raises(AlreadyRunning, match="tests/test/default is being made by another process"):
            site.create()
        assert list_backups() == []
        assert site.create()

    def test_a_second_backup_is_refused_without_the_history(self, site: Site, books: Path) -> None:
        site.sql("DROP TABLE django_cfg_backup_run")
        with lock(site), pytest.raises(AlreadyRunning):
            site.create()
        assert site.create()

    def test_another_source_is_not_locked(self, site: Site, books: Path) -> None:
        project = current_project()
        with source_lock(project, project.source("shop"), "backup"):
            assert site.create()

    def test_no_lock_file_is_left(self, site: Site, books: Path) -> None:
        project = current_project()
        site.create()
        assert not _path(project, project.source("default"), "backup").exists()

    def test_only_one_of_many_threads_holds_the_lock(self, site: Site) -> None:
        """The file is removed under the lock: a process that opened the removed file does not hold the lock."""
        inside: list[int] = []
        most: list[int] = []

        def enter() -> None:
            for _ in range(20):
                try:
                    with lock(site):
                        inside.append(1)
                        most.append(len(inside))
                        inside.pop()
                except AlreadyRunning:
                    pass

        threads = [threading.Thread(target=enter) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert max(most) == 1

    def test_without_room_for_a_lock_file_backups_continue(
        self, site: Site, books: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Only the history prevents a second backup then."""
        monkeypatch.setattr("tempfile.tempdir", str(site.root / "missing"))
        with lock(site) as identity:
            assert identity == ""
        assert "No lock file" in caplog.text

    def test_the_holder_of_a_lock_is_known(self, site: Site) -> None:
        project = current_project()
        source = project.source("default")
        with source_lock(project, source, "backup") as mine:
            assert holder_lives(project, source, mine, "backup") is True
            assert holder_lives(project, source, "another", "backup") is None
        assert holder_lives(project, source, mine, "backup") is None  # the file is gone: nothing is known

    def test_a_dead_holder_is_known(self, site: Site) -> None:
        project = current_project()
        source = project.source("default")
        with source_lock(project, source, "backup") as mine:
            os.link(_path(project, source, "backup"), site.root / "kept")
        os.link(
            site.root / "kept", _path(project, source, "backup")
        )  # as after a kill: it exists, and no process holds it
        assert holder_lives(project, source, mine, "backup") is False
        _path(project, source, "backup").unlink()


class TestAcrossMachines:
    def test_a_running_backup_excludes_others(self, other_machine: Run, site: Site) -> None:
        with pytest.raises(AlreadyRunning, match="has been running on db2 since"):
            site.create()
        assert Run.objects.get().state == "running"

    def test_a_run_without_heartbeats_is_failed_and_loses_its_lease(self, other_machine: Run, site: Site) -> None:
        reported: list[str] = []

        def listen(message: str, **_: Any) -> None:
            reported.append(message)

        signals.backup_failed.connect(listen)
        silent_since = other_machine.started_at - lease.DEAD_AFTER - timedelta(seconds=1)
        Run.objects.update(heartbeat_at=silent_since)
        assert site.create()
        other_machine.refresh_from_db()
        assert (other_machine.state, other_machine.lease) == ("failed", None)
        assert "killed, or the machine was restarted" in other_machine.message
        assert reported == [other_machine.message]

    def test_a_dead_run_that_had_published_is_recorded_as_a_success(self, site: Site, books: Path) -> None:
        """It died between writing the manifest and recording the success."""
        manifest = site.create()
        Run.objects.update(state="running", lease=True, heartbeat_at=manifest.started_at - timedelta(hours=1))
        assert tick().problems == []
        row = Run.objects.get(name=manifest.name)
        assert (row.state, row.size, row.lease) == ("succeeded", manifest.archive.size, None)

    def test_a_tick_fails_dead_runs(self, site: Site, books: Path, time: Clock) -> None:
        row = running(lock_file="another machine:1:2")
        tick()
        row.refresh_from_db()
        assert row.state == "running"
        time.advance(minutes=6)
        tick()
        row.refresh_from_db()
        assert row.state == "failed"

    def test_a_row_without_a_lease_does_not_lock(self, site: Site, books: Path) -> None:
        """A row without lease and heartbeat is never taken for a running backup."""
        running(lease=None, heartbeat_at=None, started_at=None)
        assert site.create()

    def test_a_long_run_sends_heartbeats(self, site: Site, books: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(heartbeat, "INTERVAL", 0.01)
        row = running(heartbeat_at=None)
        with heartbeat.heartbeats(row.pk, LiveProgress(SILENT, defer_signals()), lambda by: None):
            wait_until(lambda: Run.objects.get().heartbeat_at)

    def test_a_lost_history_does_not_stop_the_heartbeats(
        self, site: Site, books: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(heartbeat, "INTERVAL", 0.01)
        row = running(heartbeat_at=None)
        site.close()
        with heartbeat.heartbeats(row.pk, LiveProgress(SILENT, defer_signals()), lambda by: None):
            site.sql("ALTER TABLE django_cfg_backup_run RENAME TO away")
            site.sql("ALTER TABLE away RENAME TO django_cfg_backup_run")
            wait_until(lambda: Run.objects.get().heartbeat_at)


class TestProcesses:
    def test_a_killed_backup_does_not_lock_the_source(self, real_project: MakeProject) -> None:
        """While it runs, a second one is refused; killed with -9, it is found dead by the next one."""
        project = real_project(SLOW, compression="none")
        with project.start("backup_create") as process:
            wait_until((project.folder / "writing").exists)
            settings = project.folder / "settings.py"
            settings.write_text(settings.read_text().replace(SLOW, ""))
            refused = project.run("backup_create")
            assert refused.returncode == 1
            assert "being made by another process" in refused.stderr
            process.kill()
        assert project.run("backup_create").returncode == 0

    def test_child_processes_do_not_inherit_the_lock(self, site: Site) -> None:
        """A dump program that outlives its parent would hold it permanently."""
        with lock(site):
            child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        try:
            with lock(site):
                pass
        finally:
            child.communicate(b"\n")


def test_a_storage_failure_releases_the_lock(site: Site, books: Path) -> None:
    site.backups.write_text("a file where the folder should be")
    with pytest.raises(StorageError):
        site.create()
    site.backups.unlink()
    assert site.create()
