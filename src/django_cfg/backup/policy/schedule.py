"""Due times. Pure: the same schedule, zone and moments give every ticker the same slots.

A time of day that the clocks skip in spring is due when they have jumped; one that they repeat in autumn
is due once, the first time. A schedule of every hour or less (``*`` in its field of hours) follows the
hours that really pass. All slots are UTC, without microseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import dropwhile, islice, takewhile

from cronsim import CronSim

from django_cfg.backup.config.schedule import BackupScheduleConfig

# No clock is put forward or back further. By the wall clock a repeated hour comes before itself, so that a search
# begins this much before or after the moment it is about.
_LARGEST_SHIFT = timedelta(hours=3)
_SECOND = timedelta(seconds=1)


def latest_slot(
    schedule: BackupScheduleConfig, zone: tzinfo, now: datetime, last_started: datetime | None = None
) -> datetime | None:
    """The newest slot that is due at *now*; None: none is.

    :param last_started: when the source's last run started; counts for an interval only. A source without one
        is due at once, on a slot that all moments of the same interval share.
    """
    if schedule.interval_hours is not None:
        due = _interval_slot(schedule.interval_hours, now, last_started)
        return due if due <= now else None
    return next(_slots_until(schedule, zone, now), None)


def next_slot(
    schedule: BackupScheduleConfig, zone: tzinfo, now: datetime, last_started: datetime | None = None
) -> datetime:
    """The first slot after *now*; for an interval the due time, which may have passed."""
    if schedule.interval_hours is not None:
        return _interval_slot(schedule.interval_hours, now, last_started)
    late = _seconds(schedule)
    local = (now - late - _LARGEST_SHIFT).astimezone(zone).replace(microsecond=0)
    slots = (slot.astimezone(UTC) + late for slot in CronSim(_expression(schedule), local))
    found = next(slot for slot in slots if slot > now)
    # in a night that repeats half an hour, the search forward leaps over slots that the one backward finds
    return min(takewhile(lambda slot: slot > now, _slots_until(schedule, zone, found)), default=found)


def slots_between(
    schedule: BackupScheduleConfig, zone: tzinfo, after: datetime, before: datetime, most: int
) -> list[datetime]:
    """The newest *most* slots after one moment and before another, newest first. An interval has none: its slots
    follow from the runs."""
    if schedule.interval_hours is not None:
        return []
    earlier = _slots_until(schedule, zone, before - _SECOND)
    found = dict.fromkeys(takewhile(lambda slot: slot > after, earlier))
    return list(islice(found, most))


def _slots_until(schedule: BackupScheduleConfig, zone: tzinfo, moment: datetime) -> Iterator[datetime]:
    """All slots up to *moment*, newest first."""
    late = _seconds(schedule)
    local = (moment - late + _LARGEST_SHIFT + _SECOND).astimezone(zone).replace(microsecond=0)
    slots = (slot.astimezone(UTC) + late for slot in CronSim(_expression(schedule), local, reverse=True))
    return dropwhile(lambda slot: slot > moment, slots)


def _interval_slot(hours: int, now: datetime, last_started: datetime | None) -> datetime:
    interval = timedelta(hours=hours)
    if last_started is not None:
        return last_started.astimezone(UTC).replace(microsecond=0) + interval
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + (now - epoch) // interval * interval


def _expression(schedule: BackupScheduleConfig) -> str:
    expression = schedule.cron_expression
    if expression is None:
        raise ValueError("this schedule goes by an interval")
    return expression


def _seconds(schedule: BackupScheduleConfig) -> timedelta:
    """What a daily time has beyond its minute, which cron does not know."""
    return timedelta(seconds=schedule.daily_time.second if schedule.daily_time else 0)
