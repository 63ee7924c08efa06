"""A dump that hangs is reported while it hangs, once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from django_cfg.backup.services.creation import stall
from django_cfg.backup.storage.local.partial_file import PartialFile
from tests.support.django_project import Site
from tests.support.notification_servers import Mailbox

pytestmark = pytest.mark.usefixtures("apprise_is_loaded")


@pytest.mark.parametrize("pause", [0.0, 1.5])
def test_nothing_flows(
    site: Site, books: Path, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, pause: float
) -> None:
    write = PartialFile.write

    def slow(self: PartialFile, block: bytes) -> int:
        time.sleep(pause)
        return write(self, block)

    monkeypatch.setattr(PartialFile, "write", slow)
    monkeypatch.setattr(stall, "SILENCE", 0.4 if pause else 60)
    site.create()
    reported = [subject for subject in mailbox.subjects() if "is overdue" in subject]
    assert len(reported) == bool(pause)
    assert len(site.stored()) == 2, "the backup has ended well after all"
