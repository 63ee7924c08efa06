"""The days of a year and the slots of two days, as what an SVG shows of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from enum import IntEnum

from django_cfg.backup.config.schedule import BackupScheduleConfig
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.models import Run
from django_cfg.backup.policy.schedule import slots_between
from django_cfg.backup.services.catalog.catalog import Catalog

WEEKS = 53
_CELL = 12  # pixels, the gap included
_BAND = timedelta(hours=48)
_BAND_WIDTH = 600  # pixels
_MANY = 3  # slots of two days from which on a band says more than the calendar


class Day(IntEnum):
    """What is known of a day; of several the greatest counts."""

    NONE = 0
    MISSED = 1
    FAILED = 2
    BACKED_UP = 3
    PROVED = 4

    @property
    def label(self) -> str:
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True)
class Cell:
    """A rectangle of an SVG, in pixels."""

    x: float
    y: float
    state: str  # a class of the style sheet
    title: str
    width: float = _CELL - 2


def days_of(backups: Iterable[Manifest], runs: Iterable[Run], catalog: Catalog | None, zone: tzinfo) -> dict[date, Day]:
    """Return what happened on each day: of backups that are stored, and of runs of the history."""
    found: dict[date, Day] = {}

    def note(moment: datetime, state: Day) -> None:
        day = moment.astimezone(zone).date()
        found[day] = max(found.get(day, Day.NONE), state)

    for manifest in backups:
        note(manifest.started_at, Day.PROVED if catalog and catalog.is_proved(manifest) else Day.BACKED_UP)
    for run in runs:
        moment = run.started_at or run.slot
        state = _STATES.get(run.state)
        if moment and state is not None:
            note(moment, state)
    return found


_STATES: dict[str, Day] = {
    Run.State.SUCCEEDED: Day.BACKED_UP,
    Run.State.FAILED: Day.FAILED,
    Run.State.MISSED: Day.MISSED,
}


def year(days: Mapping[date, Day], today: date) -> list[Cell]:
    """Return a cell for each day of 53 weeks, the last one today; a column is a week from Monday on."""
    first = today - timedelta(days=today.weekday() + 7 * (WEEKS - 1))
    every = (first + timedelta(days=number) for number in range((today - first).days + 1))
    return [
        Cell(
            x=_CELL * ((day - first).days // 7),
            y=_CELL * day.weekday(),
            state=days.get(day, Day.NONE).name.lower(),
            title=f"{day:%a %d %b %Y}: {days.get(day, Day.NONE).label if days.get(day) else 'no backup'}",
        )
        for day in every
    ]


def band(
    schedule: BackupScheduleConfig | None, backups: Sequence[Manifest], runs: Sequence[Run], zone: tzinfo, now: datetime
) -> list[Cell]:
    """Return a cell for each slot of the last two days; empty for a schedule of fewer than several a day."""
    if schedule is None:
        return []
    since = now - _BAND
    slots = sorted(slots_between(schedule, zone, since, now, 500))
    if len(slots) < _MANY:
        return []
    failed = {run.slot for run in runs if run.state in (Run.State.FAILED, Run.State.MISSED)}
    known = [*(backup.started_at for backup in backups), *(run.slot or run.started_at or now for run in runs)]
    first = min(known, default=now)  # nothing was missed before there was anything
    recent = [backup for backup in backups if backup.started_at >= slots[0]]
    patience = timedelta(minutes=schedule.grace_minutes)
    width = _BAND_WIDTH / len(slots)
    cells = []
    for number, (slot, end) in enumerate(zip(slots, [*slots[1:], now], strict=True)):
        is_due = slot > now - patience
        state = _slot_state(slot, end, recent, failed, is_due=is_due) if end > first else "none"
        words = "due now" if state == "none" and is_due else state.replace("_", " ")
        title = f"{slot.astimezone(zone):%a %H:%M}: {words}"
        cells.append(Cell(round(number * width, 1), 0, state, title, width=round(max(width - 1, 1), 1)))
    return cells


def _slot_state(
    slot: datetime, end: datetime, backups: Sequence[Manifest], failed: set[datetime | None], *, is_due: bool
) -> str:
    if any(backup.slot == slot or slot <= backup.started_at < end for backup in backups):
        return "backed_up"
    if slot in failed:
        return "failed"
    return "none" if is_due else "missed"
