"""A claim that is abandoned before it ran has served its slot, and the schedule continues after it."""

from __future__ import annotations

from pathlib import Path

import pytest

from django_cfg.backup.models import Run
from django_cfg.backup.services.catalog.places import list_backups
from django_cfg.backup.services.creation.batch import Failure
from django_cfg.backup.services.schedule.tick import tick
from tests.support.django_project import Site
from tests.support.rq_jobs import clean, jobs
from tests.support.stopped_clock import Clock

EVERY_SIX_HOURS = {"interval_hours": 6, "queue": "backups", "job_timeout": 3600}


def refuse(site: Site, *, backed_up: bool) -> None:
    """Make every backup fail before it begins: a web server serves the folder of the backups."""
    site.configure(schedule=EVERY_SIX_HOURS)
    if backed_up:
        tick()
    site.set(MEDIA_ROOT=str(site.root))


@pytest.mark.parametrize("backed_up", [True, False], ids=["backed up before", "never backed up"])
def test_an_interval_counts_from_the_abandoned_claim(site: Site, books: Path, time: Clock, backed_up: bool) -> None:
    """The backup is tried again an interval later, not at every tick, and without manual work."""
    refuse(site, backed_up=backed_up)
    time.advance(hours=7)
    (failure,) = tick().results
    assert isinstance(failure, Failure)
    for _ in range(3):
        time.advance(minutes=1)
        assert clean(tick()).claimed == {}
    site.set(MEDIA_ROOT="")
    time.advance(hours=6)
    assert list(clean(tick()).claimed) == ["default"]
    assert len(list_backups()) == 1 + backed_up


@pytest.mark.parametrize("kind", ["backup", "verification"])
def test_an_interval_continues_after_jobs_that_never_started(queued: Site, time: Clock, kind: str) -> None:
    queued.create()
    never = {"enabled": False}
    schedules = {"schedule": EVERY_SIX_HOURS, "verification": {"enabled": True, "schedule": never}}
    if kind == "verification":
        schedules = {"schedule": never, "verification": {"enabled": True, "schedule": EVERY_SIX_HOURS}}
    queued.configure(**schedules)
    time.advance(hours=6)
    assert len(clean(tick()).claimed) == 1
    time.advance(hours=1)
    jobs()[0].set_status("failed")
    tick()
    assert Run.objects.get(kind=kind, slot__isnull=False).state == "failed"
    assert clean(tick()).claimed == {}
    time.advance(hours=6)
    assert len(clean(tick()).claimed) == 1
