"""Every event sends a signal with plain data; a receiver that fails stops nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup import signals
from django_cfg.backup.errors import BackupError
from django_cfg.backup.manifest import Manifest, Source
from django_cfg.backup.services.catalog.places import list_backups
from django_cfg.backup.services.restore.restore import restore_backup
from django_cfg.backup.services.schedule.tick import tick
from django_cfg.backup.services.verification.verify import verify_backup
from tests.support.django_project import Site
from tests.support.stopped_clock import Clock

EVENTS = {name: signal for name, signal in vars(signals).items() if isinstance(signal, signals.Signal)}


@pytest.fixture
def heard() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """(name, facts) of every signal that was sent."""
    heard: list[tuple[str, dict[str, Any]]] = []
    receivers = []
    for name, signal in EVENTS.items():

        def listen(sender: None, signal: Any, event: str = name, **facts: Any) -> None:
            heard.append((event, facts))

        receivers.append((signal, listen))
        signal.connect(listen)
    yield heard
    for signal, listen in receivers:
        signal.disconnect(listen)


def test_a_backup_a_verification_and_a_restore_send_signals(site: Site, books: Path, heard: list[Any]) -> None:
    manifest = site.create()
    verify_backup()
    restore_backup()
    source = heard.pop(0)[1]["source"]
    assert source == manifest.source
    assert heard.pop(1) == ("prune_succeeded", {"source": source, "deleted": [], "freed": 0})
    assert [name for name, _ in heard] == [
        "backup_succeeded",
        "verification_succeeded",
        "restore_checked",
        "restore_succeeded",
    ]
    assert all(facts["manifest"] == manifest for name, facts in heard if name != "prune_succeeded")
    assert heard[-1][1]["database"] == "default"


def test_failures_carry_the_reason(site: Site, books: Path, heard: list[Any]) -> None:
    site.create()
    (archive,) = site.backups.glob("*.gz")
    content = archive.read_bytes()
    archive.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    for attempt in (verify_backup, restore_backup):
        with pytest.raises(BackupError):
            attempt()
    site.configure(databases=[{"alias": "default", "exclude_tables": ["nosuch"]}])
    with pytest.raises(BackupError):
        site.create()
    failed = [(name, facts) for name, facts in heard if name.endswith("_failed")]
    assert [name for name, _ in failed] == ["verification_failed", "restore_failed", "backup_failed"]
    assert all(facts["message"] for _, facts in failed)


def test_a_tick_sends_signals(hourly: Site, time: Clock, heard: list[Any]) -> None:
    tick()
    time.advance(hours=2)
    tick()
    names = [name for name, _ in heard]
    assert names == [
        *("backup_started", "backup_succeeded", "prune_succeeded", "schedule_succeeded", "schedule_succeeded"),
        *("slots_missed", "backup_started", "backup_succeeded", "prune_succeeded"),
        *("schedule_succeeded", "schedule_succeeded"),
    ]


def test_a_missed_verification_sends_a_signal(hourly: Site, time: Clock, heard: list[Any]) -> None:
    hourly.create()
    hourly.configure(schedule={"enabled": False}, verification={"enabled": True, "schedule": {"cron": "0 * * * *"}})
    tick()
    time.advance(hours=3)
    tick()
    (facts,) = [facts for name, facts in heard if name == "slots_missed"]
    assert facts["kind"] == "verification"
    assert [slot.hour for slot in facts["slots"]] == [14, 13]


def test_every_event_is_in_the_docs() -> None:
    page = (Path(__file__).parents[3] / "docs" / "monitoring.md").read_text(encoding="utf-8")
    assert [name for name in EVENTS if f"`{name}`" not in page or f"\n{name} " not in (signals.__doc__ or "")] == []


def test_the_data_of_signals_is_plain(hourly: Site, time: Clock, heard: list[Any]) -> None:
    """It holds neither a connection nor a secret."""
    tick()
    time.advance(hours=2)
    tick()
    hourly.sql("DROP TABLE django_cfg_backup_run")
    tick()
    kinds = {type(value) for _, facts in heard for value in facts.values()}
    assert kinds == {Manifest, Source, list, str, int, type(None)}


def test_a_receiver_that_fails_stops_nothing(site: Site, books: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail(**_: Any) -> None:
        raise RuntimeError("the receiver is broken")

    signals.backup_succeeded.connect(fail)
    assert site.create() in list_backups()
    signals.backup_succeeded.disconnect(fail)
    assert "the receiver is broken" in caplog.text
