"""The signals for backups that are created, deleted, pinned and pruned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup import prune_backups, signals
from django_cfg.backup.errors import StorageError
from django_cfg.backup.services.project.project import current_project
from tests.support.django_project import Site
from tests.support.storages import Recording
from tests.support.stored_history import ONE_DAY, daily, put, use_storage

Events = list[tuple[str, dict[str, Any]]]
NAMES = ("backup_started", "backup_succeeded", "backup_deleted", "backup_pinned", "backup_unpinned", "prune_succeeded")


@pytest.fixture
def events() -> Iterator[Events]:
    heard: Events = []
    listeners = []
    for name in NAMES:

        def hear(signal: Any, sender: type, event: str = name, **facts: Any) -> None:
            heard.append((event, facts))

        listeners.append((name, hear))
        getattr(signals, name).connect(hear)
    yield heard
    for name, hear in listeners:
        getattr(signals, name).disconnect(hear)


def test_a_backup_sends_a_signal_when_it_starts_and_when_it_succeeds(site: Site, books: Path, events: Events) -> None:
    manifest = site.create()
    source = current_project().source("default")
    assert events[0] == ("backup_started", {"source": source, "trigger": "manual"})
    assert ("backup_succeeded", {"manifest": manifest, "warning": ""}) in events


def test_a_prune_sends_the_deleted_backups(site: Site, events: Events) -> None:
    site.configure(retention=ONE_DAY)
    made = daily(3)
    put(*made)
    prune_backups()
    gone = made[:0:-1]
    assert [facts["manifest"] for name, facts in events if name == "backup_deleted"] == gone
    freed = sum(manifest.archive.size for manifest in gone)
    assert events[-1] == ("prune_succeeded", {"source": None, "deleted": gone, "freed": freed})


def test_a_failed_prune_sends_no_success(site: Site, events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    site.configure(retention=ONE_DAY)
    put(*daily(3))
    use_storage(monkeypatch, Recording(site.backups, "delete default_3.json"))
    with pytest.raises(StorageError):
        prune_backups()
    assert [name for name, _ in events] == ["backup_deleted"]


def test_manual_deletions_and_pins_send_signals(site: Site, events: Events) -> None:
    """A damaged backup too, whose manifest is unreadable."""
    put(*daily(2))
    (site.backups / "default_2.json").write_text("{")
    site.call("backup_pin", "default_1")
    site.call("backup_pin", "default_1")
    site.call("backup_pin", "default_1", "--unpin")
    site.call("backup_delete", "default_1", "--yes", "--force")
    site.call("backup_delete", "default_2", "--yes")
    assert [name for name, _ in events] == ["backup_pinned", "backup_unpinned", "backup_deleted", "backup_deleted"]
    assert [facts["manifest"] for _, facts in events] == [daily(2)[0], daily(2)[0], daily(2)[0], None]
