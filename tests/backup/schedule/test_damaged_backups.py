"""Problems of the newest backup are reported, even if older backups are good."""

from __future__ import annotations

from typing import Any

import pytest

from django_cfg.backup import drill_backup
from django_cfg.backup.errors import VerificationFailed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.catalog.catalog import read_catalog
from django_cfg.backup.services.creation.batch import Failure
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.schedule.tick import tick
from tests.support.django_project import Site
from tests.support.notification_servers import Mailbox
from tests.support.stopped_clock import Clock

HOURLY = {"cron": "0 * * * *"}
NEVER = {"enabled": False}


@pytest.fixture
def two(hourly: Site, time: Clock) -> tuple[Manifest, Manifest]:
    """An older and a newer backup, and no schedule but that of drills."""
    verify(hourly)
    older = hourly.create()
    time.advance(minutes=1)
    return older, hourly.create()


def verify(site: Site, **verification: Any) -> None:
    site.configure(schedule=NEVER, verification={"enabled": True, "schedule": HOURLY, **verification})


def change_row_count(site: Site, manifest: Manifest) -> None:
    changed = manifest.model_dump_json(by_alias=True).replace('"name":"book","rows":200', '"name":"book","rows":201')
    (site.backups / manifest.key).write_text(changed)


def cut(site: Site, manifest: Manifest) -> None:
    path = site.backups / manifest.archive_key
    path.write_bytes(path.read_bytes()[:-10])


class TestDisproved:
    def test_a_good_drill_of_an_older_one_does_not_hide_the_newest(
        self, hourly: Site, two: tuple[Manifest, Manifest], time: Clock, mailbox: Mailbox
    ) -> None:
        """Until a newer one is proved."""
        older, newer = two
        change_row_count(hourly, newer)
        with pytest.raises(VerificationFailed):
            drill_backup(newer.name)
        time.advance(minutes=1)
        drill_backup(older.name)
        answer = hourly.call("backup_status")
        assert answer.code == 4
        assert f"the drill of {newer.name} failed: " in answer.stderr
        assert len(mailbox.mails) == 1
        time.advance(minutes=1)
        hourly.create()
        drill_backup()
        assert hourly.call("backup_status").code == 0
        assert "works again" in mailbox.subjects()[1]

    def test_a_failed_drill_of_an_older_backup_counts_while_it_is_the_last(
        self, hourly: Site, two: tuple[Manifest, Manifest], time: Clock
    ) -> None:
        older, newer = two
        change_row_count(hourly, older)
        with pytest.raises(VerificationFailed):
            drill_backup(older.name)
        assert hourly.call("backup_status").code == 4
        time.advance(minutes=1)
        drill_backup(newer.name)
        assert hourly.call("backup_status").code == 0


class TestDamaged:
    @pytest.mark.parametrize("how", ["cut", "missing", "manifest"])
    def test_the_status_is_unhealthy(self, hourly: Site, two: tuple[Manifest, Manifest], how: str) -> None:
        """Even if only its name shows which source it belongs to."""
        drill_backup()
        _, newer = two
        if how == "cut":
            cut(hourly, newer)
        elif how == "missing":
            (hourly.backups / newer.archive_key).unlink()
        else:
            (hourly.backups / newer.key).write_text("{")
        answer = hourly.call("backup_status", "--json")
        assert answer.code == 4
        assert not answer.json["healthy"]
        (source,) = answer.json["sources"]
        assert [damaged["name"] for damaged in source["damaged"]] == [newer.name]
        assert source["damaged"][0]["error"].rstrip(".") in source["problems"]
        assert "UNHEALTHY" in hourly.call("backup_status").stdout
        hourly.call("backup_delete", newer.name, "--yes")
        assert "damaged" not in hourly.call("backup_status").stderr

    def test_a_damaged_backup_of_another_source_is_only_reported(
        self, hourly: Site, two: tuple[Manifest, Manifest]
    ) -> None:
        drill_backup()
        (hourly.backups / "default_20260601_120000_production.json").write_text("{")
        (hourly.backups / "default_logs_20260601_120000_test.json").write_text("{")
        answer = hourly.call("backup_status", "--json")
        assert answer.code == 0
        assert answer.stderr.count("Not a usable backup") == 2
        assert answer.json["sources"][0]["damaged"] == []

    @pytest.mark.parametrize("drill", [True, False])
    def test_a_scheduled_verification_fails_and_notifies_once(
        self, hourly: Site, two: tuple[Manifest, Manifest], mailbox: Mailbox, time: Clock, drill: bool
    ) -> None:
        """The newest intact backup is still verified."""
        verify(hourly, drill=drill)
        older, newer = two
        cut(hourly, newer)
        for _ in range(2):
            (result,) = tick().verified
            assert isinstance(result, Failure)
            assert newer.archive_key in str(result.error)
            time.advance(hours=1)
        (mail,) = mailbox.mails
        assert "The verification of tests/test/default failed" in mail["subject"]
        assert newer.archive_key in mailbox.last()
        assert read_catalog(current_project().storage).is_proved(older) is drill
        hourly.call("backup_delete", newer.name, "--yes")
        tick()
        assert "works again" in mailbox.subjects()[1]

    def test_a_scheduled_verification_without_an_intact_backup(self, hourly: Site, mailbox: Mailbox) -> None:
        verify(hourly)
        cut(hourly, hourly.create())
        (result,) = tick().verified
        assert isinstance(result, Failure)
        assert "was cut short or replaced" in str(result.error)
        assert "The verification of tests/test/default failed" in mailbox.subjects()[0]

    def test_verifying_latest_warns_of_a_damaged_newer_backup(
        self, hourly: Site, two: tuple[Manifest, Manifest]
    ) -> None:
        """`latest` is the newest intact backup."""
        _, newer = two
        cut(hourly, newer)
        answer = hourly.call("backup_verify", "latest")
        assert answer.code == 0
        assert newer.archive_key in answer.stderr
