"""Marks of incidents never suppress a later failure. If in doubt a message is sent twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings

from django_cfg.backup.errors import BackupError, ObjectLocked
from django_cfg.backup.services.monitoring import channels, incidents
from django_cfg.backup.services.monitoring.incidents import Incident
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.storage.local import LocalStorage
from tests.support.django_project import Site
from tests.support.failing_backup import fail
from tests.support.notification_servers import Mailbox, WebServer
from tests.support.processes import threads, wait_until
from tests.support.stopped_clock import Clock

pytestmark = pytest.mark.usefixtures("apprise_is_loaded")


class Locked(LocalStorage):
    """Refuses every deletion, as a bucket with a retention rule does."""

    def delete(self, key: str) -> None:
        if self.stat(key):
            raise ObjectLocked(f"{key} is locked.")


def notified(mailbox: Mailbox) -> list[str]:
    return [subject.rpartition("default ")[2] for subject in mailbox.subjects()]


def succeed(site: Site) -> None:
    site.configure()
    site.create()


@pytest.mark.parametrize("how", ["the flag", "no channel"])
def test_an_incident_that_ends_without_a_message_is_over(site: Site, books: Path, mailbox: Mailbox, how: str) -> None:
    """The next failure is a new incident."""
    fail(site)
    admins = settings.ADMINS
    if how == "the flag":
        site.configure(notify_on_failure=False)
    else:
        site.configure()
        site.set(ADMINS=[])
    site.create()
    site.set(ADMINS=admins)
    fail(site)
    assert notified(mailbox) == ["failed", "failed"]


def test_a_storage_that_refuses_deletions(
    site: Site, books: Path, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Locked(site.backups)
    monkeypatch.setattr("django_cfg.backup.services.project.places.open_storage", lambda *_: storage)
    for _ in range(3):
        fail(site)
        fail(site)
        succeed(site)
        succeed(site)
    assert notified(mailbox) == ["failed", "works again"] * 3


def test_two_machines_with_marks_of_their_own(
    site: Site, books: Path, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed while the storage was unavailable; B failed and recovered; A fails again."""

    def on(machine: str) -> None:
        (site.root / machine).mkdir(exist_ok=True)
        monkeypatch.setattr("tempfile.tempdir", str(site.root / machine))

    on("A")
    site.backups.write_text("a file where the folder should be")
    with pytest.raises(BackupError):
        site.create()
    site.backups.unlink()
    on("B")
    fail(site)
    succeed(site)
    on("A")
    fail(site)
    assert notified(mailbox) == ["failed", "failed", "works again", "failed"]


class TestDelivery:
    def test_a_process_that_ends_before_the_message(self, site: Site, books: Path, mailbox: Mailbox) -> None:
        """After SIGTERM, for example: the next failure sends the message."""

        def stopped() -> bool:
            raise SystemExit

        with pytest.raises(SystemExit):
            Incident(current_project(), "backup", "default").begin("why", stopped)
        fail(site)
        assert notified(mailbox) == ["failed"]

    def test_a_process_that_is_killed_before_the_message(
        self, site: Site, books: Path, mailbox: Mailbox, time: Clock
    ) -> None:
        """Another process may be sending it now; after an hour it is not."""
        assert incidents.Incident(current_project(), "backup", "default")._new_mark("why")
        fail(site)
        assert notified(mailbox) == []
        time.advance(hours=1)
        for _ in range(2):
            fail(site)
        assert notified(mailbox) == ["failed"]

    def test_an_unreadable_mark_suppresses_no_message(self, site: Site, books: Path, mailbox: Mailbox) -> None:
        incidents.Incident(current_project(), "backup", "default")._new_mark("why")
        (mark,) = site.backups.rglob("*.incident")
        mark.write_text("half a li")
        for _ in range(2):
            fail(site)
        assert notified(mailbox) == ["failed"]

    def test_a_slow_channel_is_not_used_for_every_failure(
        self, site: Site, books: Path, web: WebServer, time: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It may or may not have delivered: the message is sent again after an hour, then after two."""
        monkeypatch.setattr(channels, "DEADLINE", 0.5)
        url = f"json://127.0.0.1:{web.port}/slow"
        web.hold.clear()
        asked = []
        for minutes in (1, 57, 2, 1, 110, 10):
            fail(site, notify_urls=[url])
            asked.append(len(web.paths))
            time.advance(minutes=minutes)
        fail(site, notify_urls=[url])
        web.hold.set()
        wait_until(lambda: not [thread for thread in threads() if thread.name == "backup-notification"])
        assert asked == [1, 1, 1, 2, 2, 2]
        assert len(web.paths) == 3

    def test_a_slow_channel_together_with_one_that_delivered(
        self,
        site: Site,
        books: Path,
        mailbox: Mailbox,
        web: WebServer,
        time: Clock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(channels, "DEADLINE", 0.5)
        web.hold.clear()
        for _ in range(3):
            fail(site, notify_urls=[f"json://127.0.0.1:{web.port}/slow"])
            time.advance(hours=9)
        web.hold.set()
        wait_until(lambda: not [thread for thread in threads() if thread.name == "backup-notification"])
        assert notified(mailbox) == ["failed"]

    def test_open_incidents_can_be_listed(self, site: Site, books: Path) -> None:
        incident = Incident(current_project(), "prune", "default")
        assert incident.message() == ""
        incident.begin("the bucket says no", lambda: True)
        assert incident.message() == "the bucket says no"
        assert incident.end()
        assert (incident.message(), incident.end()) == ("", False)
