"""What is published is a backup: nothing that comes after its manifest makes a failure of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup import create_backup, list_backups
from django_cfg.backup.models import Run
from django_cfg.backup.signals import backup_failed, backup_succeeded
from django_cfg.backup.storage.local import LocalStorage
from tests.support.django_project import Site


@pytest.fixture
def told(site: Site, books: Path) -> Iterator[list[str]]:
    """What the signals said, from which every mail and heartbeat comes."""
    heard: list[str] = []

    def succeeded(**facts: Any) -> None:
        heard.append("succeeded")

    def failed(**facts: Any) -> None:
        heard.append("failed")

    backup_succeeded.connect(succeeded)
    backup_failed.connect(failed)
    yield heard
    backup_succeeded.disconnect(succeeded)
    backup_failed.disconnect(failed)


def require_success(told: list[str]) -> None:
    (manifest,) = list_backups()
    (run,) = Run.objects.all()
    assert (run.state, run.name, run.size, run.message, run.lease) == (
        "succeeded",
        manifest.name,
        manifest.archive.size,
        "",
        None,
    )
    assert told == ["succeeded"]


def interrupt(*arguments: object, **facts: object) -> None:
    raise KeyboardInterrupt


def test_an_interruption_while_the_success_is_told(site: Site, told: list[str]) -> None:
    """A mail server may take its time, and a service manager end us meanwhile."""
    backup_succeeded.connect(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            create_backup()
    finally:
        backup_succeeded.disconnect(interrupt)
    require_success(told)


def test_an_interruption_when_the_manifest_has_just_been_written(
    site: Site, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = LocalStorage.write

    def write_and_be_interrupted(self: LocalStorage, key: str, *arguments: Any) -> None:
        write(self, key, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalStorage, "write", write_and_be_interrupted)
    with pytest.raises(KeyboardInterrupt):
        create_backup()
    require_success(told)


def test_an_interruption_after_the_manifest(site: Site, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As while a warning is shown."""
    monkeypatch.setattr(
        "django_cfg.backup.services.creation.create._BackupAttempt._warn", _warn_of_nothing_before_the_end()
    )
    with pytest.raises(KeyboardInterrupt):
        create_backup()
    require_success(told)


def _warn_of_nothing_before_the_end() -> Any:
    calls: list[object] = []

    def warn(self: object, warnings: object) -> None:
        calls.append(warnings)
        if len(calls) == 2:  # the encryption's warnings come first
            raise KeyboardInterrupt

    return warn


def test_an_interruption_when_the_row_cannot_be_written_yet(
    site: Site, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the heart is being stopped."""
    monkeypatch.setattr("django_cfg.backup.services.runs.run.heartbeats", lambda *arguments: _Interrupted())
    with pytest.raises(KeyboardInterrupt):
        create_backup()
    require_success(told)


class _Interrupted:
    def __enter__(self) -> None:
        """As always."""

    def __exit__(self, *error: object) -> None:
        raise KeyboardInterrupt


def test_before_the_manifest_it_has_failed(site: Site, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalStorage, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        create_backup()
    assert list_backups() == []
    assert told == ["failed"]
    assert [run.state for run in Run.objects.all()] == ["failed"]
    assert site.stored() == []
