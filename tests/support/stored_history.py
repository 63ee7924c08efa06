"""A site whose storage holds a history, for tests of pruning."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup.errors import ObjectLocked
from django_cfg.backup.manifest import Manifest, Source
from django_cfg.backup.services.project.project import current_project
from tests.support.django_project import Site
from tests.support.manifests import make_manifest, publish
from tests.support.storages import Recording

ONE_DAY = {"keep_daily": 1, "keep_weekly": 0, "keep_monthly": 0}
NOW = datetime.now(UTC)


def daily(count: int, *, database: str = "default", env: str = "test", **values: Any) -> list[Manifest]:
    """Backups of the last *count* days before yesterday, newest first: ``default_1``, ``default_2``..."""
    source = Source(project="tests", env=env, database=database)
    return [
        make_manifest(
            f"{database}_{number}" if env == "test" else f"{env}_{database}_{number}",
            source=source,
            started_at=NOW - timedelta(days=1 + number),
            finished_at=NOW - timedelta(days=1 + number),
            **values,
        )
        for number in range(1, count + 1)
    ]


def put(*manifests: Manifest) -> None:
    """Store them in the current site's storage."""
    publish(current_project().storage, *manifests)


def backups(site: Site) -> set[str]:
    """The names that have a manifest; each has its archive, and no archive is without one."""
    stored = site.stored()
    manifests = {name.removesuffix(".json") for name in stored if name.endswith(".json") and name.count(".") == 1}
    assert manifests == {name.partition(".")[0] for name in stored if name.endswith((".sqlite3", ".gz"))}
    return manifests


class Locking(Recording):
    """A storage that does not let go of some keys yet."""

    def __init__(self, root: Path, *locked: str) -> None:
        super().__init__(root)
        self.locked: tuple[str, ...] = locked
        self.locks_all = False

    def delete(self, key: str) -> None:
        if self.locks_all or key in self.locked:
            raise ObjectLocked(f"{key} is locked until 2031-01-01.")
        super().delete(key)


def use_storage(monkeypatch: pytest.MonkeyPatch, storage: Recording) -> None:
    """Let the current site's project have *storage*."""
    monkeypatch.setattr("django_cfg.backup.services.project.places.open_storage", lambda *args: storage)
