"""Notifications of copies: one when a place gets no backup, one when nothing is missing there any more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from django_cfg.backup.errors import CopyFailed
from tests.support.django_project import Site
from tests.support.notification_servers import Mailbox

FAILED, AGAIN = "A backup of tests/test/default is not in offsite", "Backups of tests/test are copied to offsite again"


class Offsite:
    """A place that can be taken away."""

    def __init__(self, site: Site, *, required: bool) -> None:
        self.site, self.folder = site, site.root / "offsite"
        storage = {"local_path": str(self.folder)}
        site.configure(copies=[{"name": "offsite", "storage": storage, "required": required}])

    def fail(self) -> str:
        """Make a backup while it is away; return its name."""
        if self.folder.exists():
            self.folder.rename(self.site.root / "away")
        self.folder.write_text("no folder")
        try:
            return self.site.create().name
        except CopyFailed as error:
            return str(error.manifest.name)
        finally:
            self.folder.unlink()
            if (self.site.root / "away").exists():
                (self.site.root / "away").rename(self.folder)


def by_hand(site: Site, name: str) -> None:
    assert site.call("backup_copy", name).code == 0


def by_a_tick(site: Site, name: str) -> None:
    site.configure(schedule={"interval_hours": 168}, copies=site_copies(site))
    assert site.call("backup_tick").code == 0


def by_deletion(site: Site, name: str) -> None:
    """And the next backup, which is in all places."""
    assert site.call("backup_delete", name, "--yes", "--force").code == 0
    site.create()


def site_copies(site: Site) -> list[dict[str, object]]:
    return [{"name": "offsite", "storage": {"local_path": str(site.root / "offsite")}}]


@pytest.mark.parametrize("end", [by_hand, by_a_tick, by_deletion])
def test_each_failure_is_notified_once_and_its_end_too(
    site: Site, books: Path, mailbox: Mailbox, end: Callable[[Site, str], None]
) -> None:
    offsite = Offsite(site, required=True)
    for _ in range(2):
        end(site, offsite.fail())
    found = [subject for subject in mailbox.subjects() if "offsite" in subject]
    assert [subject.rpartition("] ")[2] for subject in found] == [FAILED, AGAIN] * 2


def test_several_failures_are_notified_once(site: Site, books: Path, mailbox: Mailbox) -> None:
    """What was copied by hand is not all that is missing."""
    offsite = Offsite(site, required=True)
    offsite.fail()
    by_hand(site, offsite.fail())
    offsite.fail()
    assert [subject.rpartition("] ")[2] for subject in mailbox.subjects() if "offsite" in subject] == [FAILED]


def test_no_mail_is_sent_of_a_place_that_is_not_required(site: Site, books: Path, mailbox: Mailbox) -> None:
    Offsite(site, required=False).fail()
    assert [subject for subject in mailbox.subjects() if "offsite" in subject] == []
