"""A run that has published its manifest has succeeded, even if a later step is interrupted."""

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
def signals_sent(site: Site, books: Path) -> Iterator[list[str]]:
    """Collect the signals, which cause every mail and heartbeat."""
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


def require_success(signals_sent: list[str]) -> None:
    (manifest,) = list_backups()
    (run,) = Run.objects.all()
    assert (run.state, run.name, run.size, run.message, run.lease) == (
        "succeeded",
        manifest.name,
        manifest.archive.size,
        "",
        None,
    )
    assert signals_sent == ["succeeded"]


def interrupt(*arguments: object, **facts: object) -> None:
    raise KeyboardInterrupt


def test_an_interruption_during_the_signal_of_success(site: Site, signals_sent: list[str]) -> None:
    """A mail server may be slow, and a service manager may end the process in the meantime."""
    backup_succeeded.connect(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            create_backup()
    finally:
        backup_succeeded.disconnect(interrupt)
    require_success(signals_sent)


def test_an_interruption_right_after_the_manifest_was_written(
    site: Site, signals_sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = LocalStorage.write

    def write_and_be_interrupted(self: LocalStorage, key: str, *arguments: Any) -> None:
        write(self, key, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalStorage, "write", write_and_be_interrupted)
    with pytest.raises(KeyboardInterrupt):
        create_backup()
    require_success(signals_sent)


def test_an_interruption_after_the_manifest(
    site: Site, signals_sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a warning is printed, for example."""
    monkeypatch.setattr(
        "django_cfg.backup.services.creation.create._BackupAttempt._warn", _warn_of_nothing_before_the_end()
    )
    with pytest.raises(KeyboardInterrupt):
        create_backup()
    require_success(signals_sent)


def _warn_of_nothing_before_the_end() -> Any:
    calls: list[object] = []

    def warn(self: object, warnings: object) -> None:
        calls.append(warnings)
        if len(calls) == 2:  # the encryption's warnings come first
            raise KeyboardInterrupt

    return warn


def test_an_interruption_before_the_row_is_written(
    site: Site, signals_sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the heartbeats are being stopped."""
    monkeypatch.setattr("django_cfg.backup.services.runs.run.heartbeats", lambda *arguments: _Interrupted())
    with pytest.raises(KeyboardInterrupt):
        create_backup()
    require_success(signals_sent)


class _Interrupted:
    def __enter__(self) -> None:
        """As usual."""

    def __exit__(self, *error: object) -> None:
        raise KeyboardInterrupt


def test_an_interruption_before_the_manifest_is_a_failure(
    site: Site, signals_sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalStorage, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        create_backup()
    assert list_backups() == []
    assert signals_sent == ["failed"]
    assert [run.state for run in Run.objects.all()] == ["failed"]
    assert site.stored() == []
