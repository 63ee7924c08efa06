"""The history's times are UTC, also where Django is told to use none."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from django_cfg.backup.models import Run
from django_cfg.backup.services.schedule.tick import tick
from tests.support.django_project import Site
from tests.support.stopped_clock import Clock


@pytest.mark.parametrize("use_tz", [True, False])
def test_both_hours_of_the_autumn_night_have_their_slots(site: Site, books: Path, time: Clock, use_tz: bool) -> None:
    """Kept as local time, the second 2:00 would be the first one again."""
    site.set(USE_TZ=use_tz)
    site.configure(schedule={"cron": "0 * * * *"})
    for hour in range(3):
        time.now = datetime(2026, 10, 25, hour, 0, 1, tzinfo=UTC)
        assert not tick().problems
    assert [(row.slot, row.state) for row in Run.objects.order_by("slot")] == [
        (datetime(2026, 10, 25, hour, tzinfo=UTC), "succeeded") for hour in range(3)
    ]
