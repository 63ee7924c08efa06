"""Marks of incidents swallow no later failure, whatever happens to them. In doubt a message is sent twice."""

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
    """Lets nobody delete, as a bucket with a retention rule."""

    def delete(self, key: str) -> None:
        if self.stat(key):
            raise ObjectLocked(f"{key} is locked.")


def told(mailbox: Mailbox) -> list[str]:
    return [subject.rpartition("default ")[2] for subject in mailbox.subjects()]


def succeed(site: Site) -> None:
    site.configure()
    site.create()


@pytest.mark.parametrize("how", ["the flag", "no channel"])
def test_one_that_ends_while_nobody_is_told_is_over(site: Site, books: Path, mailbox: Mailbox, how: str) -> None:
    """The next failure is a new one."""
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
    assert told(mailbox) == ["failed", "failed"]


def test_a_storage_that_lets_nobody_delete(
    site: Site, books: Path, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Locked(site.backups)
    monkeypatch.setattr("django_cfg.backup.services.project.project.open_storage", lambda *_: storage)
    for _ in range(3):
        fail(site)
        fail(site)
        succeed(site)
        succeed(site)
    assert told(mailbox) == ["failed", "works again"] * 3


def test_two_machines_with_marks_of_their_own(
    site: Site, books: Path, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed while the storage was away; B failed and recovered; A fails anew."""

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
    assert told(mailbox) == ["failed", "failed", "works again", "failed"]


class TestTelling:
    def test_one_that_is_ended_before_it_has_told(self, site: Site, books: Path, mailbox: Mailbox) -> None:
        """In order, as by SIGTERM: the next occasion tells."""

        def stopped() -> bool:
            raise SystemExit

        with pytest.raises(SystemExit):
            Incident(current_project(), "backup", "default").begin("why", stopped)
        fail(site)
        assert told(mailbox) == ["failed"]

    def test_one_that_is_killed_before_it_has_told(
        self, site: Site, books: Path, mailbox: Mailbox, time: Clock
    ) -> None:
        """Another may be telling just now; after an hour it is not."""
        assert incidents.Incident(current_project(), "backup", "default")._new_mark("why")
        fail(site)
        assert told(mailbox) == []
        time.advance(hours=1)
        for _ in range(2):
            fail(site)
        assert told(mailbox) == ["failed"]

    def test_a_mark_that_cannot_be_read_is_told(self, site: Site, books: Path, mailbox: Mailbox) -> None:
        incidents.Incident(current_project(), "backup", "default")._new_mark("why")
        (mark,) = site.backups.rglob("*.incident")
        mark.write_text("half a li")
        for _ in range(2):
            fail(site)
        assert told(mailbox) == ["failed"]

    def test_a_channel_that_is_slow_is_not_asked_at_every_occasion(
        self, site: Site, books: Path, web: WebServer, time: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It may have delivered. Told again after an hour, then after two: it may not have."""
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

    def test_one_slow_channel_beside_one_that_was_heard(
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
        assert told(mailbox) == ["failed"]

    def test_what_goes_on_can_be_asked(self, site: Site, books: Path) -> None:
        incident = Incident(current_project(), "prune", "default")
        assert incident.message() == ""
        incident.begin("the bucket says no", lambda: True)
        assert incident.message() == "the bucket says no"
        assert incident.end()
        assert (incident.message(), incident.end()) == ("", False)
