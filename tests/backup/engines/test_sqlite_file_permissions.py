"""Temporary copies of a SQLite database are for their owner alone, file by file, whatever the umask."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup import create_backup, restore_backup, verify_backup
from django_cfg.backup.engines.sqlite import dump, engine, kept_data
from django_cfg.backup.signals import restore_checked
from tests.support.django_project import Site


@pytest.fixture(autouse=True)
def _open_to_all() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def modes(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The mode of each temporary file that is looked at or moved on, by its name."""
    seen: dict[str, int] = {}

    def watch(module: Any, name: str) -> None:
        act = getattr(module, name)

        def look(path: Path, *arguments: Any, **options: Any) -> Any:
            seen[path.name] = path.stat().st_mode & 0o777
            return act(path, *arguments, **options)

        monkeypatch.setattr(module, name, look)

    watch(dump, "open_as_project")
    watch(engine, "check_file")
    watch(kept_data, "take_owner_and_mode")
    return seen


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_every_copy_is_for_its_owner_alone(site: Site, books: Path, modes: dict[str, int], journal_mode: str) -> None:
    site.sql(f"PRAGMA journal_mode = {journal_mode}")

    def look_at_scratch(scratch: Mapping[str, Any], **facts: Any) -> None:
        modes["scratch"] = Path(scratch["NAME"].removeprefix("file:").partition("?")[0]).stat().st_mode & 0o777

    create_backup()
    site.configure(databases=[{"alias": "default", "exclude_tables": ["book"]}])
    create_backup()
    verify_backup()
    restore_checked.connect(look_at_scratch)
    try:
        restore_backup()
    finally:
        restore_checked.disconnect(look_at_scratch)
    assert modes == dict.fromkeys(("copy.sqlite3", "selected.sqlite3", "scratch", "scratch-old"), 0o600)
