"""What tests of several services need: names of signals, a heart that looks often, a history apart from the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from django_cfg.backup import signals
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.runs import heartbeat
from tests.support.django_project import Site

SQLITE = "django.db.backends.sqlite3"
ENDINGS = [name for name in dir(signals) if name.endswith(("_failed", "_succeeded", "_overdue"))]


@pytest.fixture
def frequent_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Running runs see at once that they are cancelled."""
    monkeypatch.setattr(heartbeat, "_LOOK_EVERY", 0.05)


@pytest.fixture
def sent() -> Iterator[list[str]]:
    """The names of the signals that were sent about ends."""
    names: list[str] = []

    def receiver(name: str) -> Callable[..., None]:
        return lambda **facts: names.append(name)

    connected = {name: receiver(name) for name in ENDINGS}
    for name, called in connected.items():
        getattr(signals, name).connect(called)
    yield names
    for name, called in connected.items():
        getattr(signals, name).disconnect(called)


@pytest.fixture
def shop(site: Site, books: Path) -> Manifest:
    """The shop has its own database, which is backed up; the history is in another one."""
    site.sql("VACUUM INTO '" + str(site.root / "shop.sqlite3") + "'")
    site.use_databases(
        default={"ENGINE": SQLITE, "NAME": str(site.database)},
        shop={"ENGINE": SQLITE, "NAME": str(site.root / "shop.sqlite3")},
    )
    return site.create("shop")
