"""Three tickers and two workers on a real Redis: every slot exactly once."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.support.processes import wait_until
from tests.support.redis_server import RedisServer
from tests.support.stopped_clock import START
from tests.support.worker_fleet import Fleet, fleet


def slots_in(fleet: Fleet) -> Counter[tuple[str, str]]:
    """How often each slot of each source was served, by the manifests."""
    documents = [json.loads(path.read_text()) for path in fleet.manifests()]
    return Counter((document["source"]["database"], document["slot"]) for document in documents)


@pytest.mark.parametrize(
    ("sources", "hours"), [(2, 4), pytest.param(4, 50, marks=pytest.mark.long)], ids=["8 slots", "200 slots"]
)
def test_every_slot_exactly_once(
    tmp_path: Path, migrated_database: Path, redis_server: RedisServer, sources: int, hours: int
) -> None:
    """No slot twice, none missed, whatever the six processes do at the same moment; SQLite keeps the history."""
    with fleet(tmp_path / "project", migrated_database, redis_server, shops=sources - 1) as racing:
        now = START
        racing.set_clock(now)
        for _ in range(3):
            racing.start_ticker()
        for _ in range(2):
            racing.start_worker()
        for hour in range(1, hours + 1):
            wait_until(lambda hour=hour: len(racing.manifests()) >= hour * sources, 60)
            now = racing.advance(now, hours=1 if hour < hours else 0)
        wait_until(lambda: not racing.rows(where="state IN ('queued', 'running')"), 60)
        served = slots_in(racing)
    assert len(served) == sources * hours
    assert set(served.values()) == {1}
    assert {state for (state,) in racing.rows("state")} == {"succeeded"}
    assert len(racing.rows()) == sources * hours
    assert racing.log() == ""
