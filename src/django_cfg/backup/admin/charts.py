"""Sizes and durations over time, and what fills the storage, as what an SVG shows of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from statistics import median

from django_cfg.backup.formatting import megabytes
from django_cfg.backup.manifest import Manifest

WIDTH, HEIGHT = 600, 60  # pixels
_MOST = 120  # backups
_COMPARED = 10  # backups before
_UNUSUAL = 2  # times as much as usual, or half


@dataclass(frozen=True)
class Point:
    """One backup in a chart, in pixels."""

    x: float
    y: float
    is_unusual: bool
    title: str


@dataclass(frozen=True)
class Chart:
    """A line of points from the oldest to the newest."""

    label: str
    points: tuple[Point, ...]
    most: str  # the greatest value

    @property
    def line(self) -> str:
        """The attribute ``points`` of a polyline."""
        return " ".join(f"{point.x},{point.y}" for point in self.points)


def charts(backups: Sequence[Manifest], zone: tzinfo) -> list[Chart]:
    """Return the sizes and the durations of *backups* (newest first); empty for fewer than two."""
    past = list(reversed(backups[:_MOST]))
    if len(past) < 2:
        return []
    when = [f"{backup.started_at.astimezone(zone):%Y-%m-%d %H:%M}" for backup in past]
    sizes = [float(backup.size) for backup in past]
    durations = [backup.took.total_seconds() for backup in past]
    return [
        _chart("Size", sizes, [f"{at}: {megabytes(int(size))}" for at, size in zip(when, sizes, strict=True)]),
        _chart("Duration", durations, [f"{at}: {took:.1f} s" for at, took in zip(when, durations, strict=True)]),
    ]


def _chart(label: str, values: Sequence[float], titles: Sequence[str]) -> Chart:
    top = max(values) or 1.0
    step = WIDTH / (len(values) - 1)
    points = tuple(
        Point(
            x=round(number * step, 1),
            y=round(HEIGHT - value / top * HEIGHT, 1),
            is_unusual=_is_unusual(value, values[max(0, number - _COMPARED) : number]),
            title=title,
        )
        for number, (value, title) in enumerate(zip(values, titles, strict=True))
    )
    return Chart(label, points, titles[values.index(max(values))].partition(": ")[2])


def _is_unusual(value: float, before: Sequence[float]) -> bool:
    if len(before) < 3 or max(value, *before) < 2:  # seconds or bytes: nothing to speak of
        return False
    usual = median(before)
    return value > _UNUSUAL * usual or value * _UNUSUAL < usual


@dataclass(frozen=True)
class Usage:
    """What the backups take of their limit, in bytes and in pixels of a bar."""

    used: int
    floor: int  # what is never deleted
    limit: int | None

    @property
    def used_width(self) -> float:
        return self._width(self.used)

    @property
    def floor_width(self) -> float:
        return self._width(self.floor)

    @property
    def is_over(self) -> bool:
        return self.limit is not None and self.used > self.limit

    def _width(self, size: int) -> float:
        return round(min(1.0, size / (self.limit or self.used or 1)) * WIDTH, 1)
