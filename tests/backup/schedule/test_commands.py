"""backup_tick and backup_scheduler, as a user runs them."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from django_cfg.backup.errors import StorageError
from django_cfg.backup.management.commands import backup_scheduler
from django_cfg.backup.models import Run
from django_cfg.backup.services.catalog.places import list_backups
from django_cfg.backup.services.schedule import tick
from tests.support.django_project import Site
from tests.support.processes import wait_until
from tests.support.real_project import SLOW, MakeProject, RealProject
from tests.support.stopped_clock import Clock

RUNS = "SELECT state, message FROM django_cfg_backup_run ORDER BY id"


def runs(project: RealProject) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(project.database)) as connection:
        return connection.execute(RUNS).fetchall()


class TestTick:
    def test_without_redis_due_backups_run_in_place(self, hourly: Site, time: Clock) -> None:
        answer = hourly.call("backup_tick")
        assert answer.code == 0
        assert "default: claimed the slot of 2026-06-01 12:00 UTC" in answer.stdout
        assert hourly.call("backup_tick").stdout == ""
        time.advance(hours=1)
        document = hourly.call("backup_tick", json=True).json
        assert document["claimed"] == {"default": "2026-06-01T13:00:00Z"}
        assert document["results"][0]["trigger"] == "scheduled"

    def test_with_redis_due_backups_are_queued(self, queued: Site) -> None:
        assert "default: put on its queue" in queued.call("backup_tick").stdout
        assert list_backups() == []

    def test_in_place_overrides_redis(self, queued: Site) -> None:
        assert queued.call("backup_tick", "--in-place").code == 0
        assert len(list_backups()) == 1

    def test_a_failed_backup_sets_the_exit_code(self, hourly: Site) -> None:
        broken = [{"alias": "default", "exclude_tables": ["nosuch"]}]
        hourly.configure(schedule={"cron": "0 * * * *"}, databases=broken)
        answer = hourly.call("backup_tick", json=True)
        assert answer.code == 2
        assert "nosuch" in answer.json["results"][0]["error"]

    def test_a_tick_that_cannot_claim_sets_the_exit_code(self, hourly: Site) -> None:
        hourly.sql("DROP TABLE django_cfg_backup_run")
        answer = hourly.call("backup_tick", json=True)
        assert answer.code == 1
        assert "run migrate" in answer.json["problems"][0]
        assert "run migrate" in answer.stderr

    def test_a_backup_and_a_verification_that_fail_are_both_reported(self, hourly: Site) -> None:
        hourly.create()
        hourly.configure(
            schedule={"cron": "0 * * * *"},
            verification={"enabled": True, "schedule": {"cron": "0 * * * *"}, "drill_alias": "nosuch"},
            databases=[{"alias": "default", "exclude_tables": ["nosuch"]}],
        )
        answer = hourly.call("backup_tick")
        assert answer.code == 1
        assert "exclude_tables" in answer.stderr
        assert "There is no database 'nosuch'" in answer.stderr

    def test_a_defect_keeps_no_other_run_from_being_made(
        self, hourly: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Of this package, or of a driver: whatever it raises is an error of its one run."""
        hourly.sql("CREATE TABLE book (id integer)", database=hourly.root / "other.sqlite3")
        hourly.use_databases(
            default=settings.DATABASES["default"],
            other={"ENGINE": "django.db.backends.sqlite3", "NAME": str(hourly.root / "other.sqlite3")},
        )
        serve = tick.run_claimed_backup

        def fail(run: int, alias: str, *arguments: Any) -> Any:
            if alias == "default":
                raise ZeroDivisionError("a defect")
            return serve(run, alias, *arguments)

        monkeypatch.setattr(tick, "run_claimed_backup", fail)
        answer = hourly.call("backup_tick")
        assert answer.code == 3
        assert "The backup of 'default' failed unexpectedly: ZeroDivisionError('a defect')" in answer.stderr
        assert [manifest.source.database for manifest in list_backups()] == ["other"]
        assert "Traceback" in caplog.text

    def test_nothing_due_is_said_to_a_person(self, hourly: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """In a crontab it would be a mail a minute."""
        hourly.call("backup_tick")
        assert hourly.call("backup_tick").stdout == ""
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        assert hourly.call("backup_tick").stdout == "Nothing is due.\n"

    def test_switched_off_backups_run_nothing(self, hourly: Site) -> None:
        hourly.configure(enabled=False)
        assert hourly.call("backup_tick").code == 0
        assert not Run.objects.exists()


class TestScheduler:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_due_backups_run_until_a_signal_stops_the_scheduler(self, real_project: MakeProject, number: int) -> None:
        project = real_project()
        with project.start("backup_scheduler", "--every", "1") as process:
            assert process.stdout
            assert "claimed the slot" in process.stdout.readline()
            process.send_signal(number)
            _, stderr = process.communicate(timeout=20)
        assert process.returncode == 0, stderr
        assert runs(project) == [("succeeded", "")]
        assert stderr.endswith("The scheduler has stopped.\n")
        assert "Traceback" not in stderr

    def test_a_signal_during_a_backup_leaves_nothing_unfinished(self, real_project: MakeProject) -> None:
        project = real_project(SLOW, compression="none")
        with project.start("backup_scheduler") as process:
            wait_until((project.folder / "writing").exists)
            process.send_signal(signal.SIGTERM)
            _, stderr = process.communicate(timeout=20)
        assert process.returncode == 0, stderr
        assert project.stored() == []
        ((state, message),) = runs(project)
        assert (state, "SIGTERM" in message) == ("failed", True)

    def test_a_lost_history_does_not_end_the_scheduler(self, tmp_path: Path, real_project: MakeProject) -> None:
        project = real_project()
        project.database.rename(tmp_path / "away")
        with project.start("backup_scheduler", "--every", "1") as process:
            assert process.stderr
            assert "The scheduler is running" in process.stderr.readline()
            assert "does not exist" in process.stderr.readline()
            (tmp_path / "away").rename(project.database)
            wait_until(lambda: runs(project) == [("succeeded", "")])
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)
        assert process.returncode == 0

    @pytest.mark.parametrize("error", [StorageError("The storage is away."), ZeroDivisionError("a defect")])
    def test_an_error_of_a_check_does_not_end_the_scheduler(
        self, hourly: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
    ) -> None:
        checks = iter([error, SystemExit(0)])

        def fail(**options: Any) -> Any:
            raise next(checks)

        monkeypatch.setattr(backup_scheduler, "tick", fail)
        monkeypatch.setattr("threading.Event.wait", lambda event, seconds: True)
        answer = hourly.call("backup_scheduler")
        assert answer.code == 0
        assert "The scheduler has stopped." in answer.stderr
        assert str(error) in answer.stderr + caplog.text

    def test_switched_off_backups_are_reported(self, site: Site) -> None:
        site.configure(enabled=False)
        answer = site.call("backup_scheduler")
        assert answer.code == 2
        assert "switched off" in answer.stderr

    def test_the_interval_is_at_least_a_second(self, site: Site) -> None:
        assert site.call("backup_scheduler", "--every", "0").code == 2


def test_backup_tick_as_a_cron_job(real_project: MakeProject) -> None:
    project = real_project()
    done = project.run("backup_tick", "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["results"]) == 1
    assert json.loads(project.run("backup_tick", "--json").stdout)["results"] == []
    assert project.run("backup_status").returncode == 0
