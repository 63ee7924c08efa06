"""What tests of several services need: the names of signals, a heart that looks often."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from django_cfg.backup import signals
from django_cfg.backup.services.runs import heartbeat

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
