"""What the overview draws: the calendar of a year, the slots of two days, sizes and durations. Pure."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from django_cfg.backup.config.schedule import BackupScheduleConfig
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.models import Run
from tests.support.admin_modules import load_admin_module
from tests.support.manifests import make_manifest

calendar, charting = load_admin_module("calendar"), load_admin_module("charts")
Day = calendar.Day
NOW = datetime(2026, 6, 3, 12, 1, tzinfo=UTC)  # a Wednesday
BERLIN = ZoneInfo("Europe/Berlin")
PATTERN = make_manifest()


def backup(at: datetime, seconds: float = 10, size: int = 1000, slot: datetime | None = None) -> Manifest:
    archive = PATTERN.archive.model_copy(update={"size": size})
    facts = {"started_at": at, "finished_at": at + timedelta(seconds=seconds), "archive": archive, "slot": slot}
    return PATTERN.model_copy(update={"name": f"b{at:%d%H%M}", **facts})


class TestCalendar:
    def test_a_year_ends_today_and_has_53_weeks(self) -> None:
        cells = calendar.year({}, NOW.date())
        assert len(cells) == 52 * 7 + 3
        assert (cells[0].x, cells[0].y) == (0, 0)
        assert (cells[-1].x, cells[-1].y) == (52 * 12, 2 * 12)
        assert cells[-1].title == "Wed 03 Jun 2026: no backup"
        assert {cell.state for cell in cells} == {"none"}

    @pytest.mark.parametrize("today", [date(2026, 6, 1), date(2026, 6, 7), date(2028, 2, 29)])
    def test_every_day_has_a_place_of_its_own(self, today: date) -> None:
        cells = calendar.year({today: Day.PROVED}, today)
        assert len({(cell.x, cell.y) for cell in cells}) == len(cells)
        assert cells[-1].state == "proved"
        assert max(cell.x for cell in cells) == 52 * 12

    def test_a_day_is_that_of_the_shown_zone(self) -> None:
        late = backup(datetime(2026, 6, 1, 22, 30, tzinfo=UTC))
        assert calendar.days_of([late], [], None, BERLIN) == {date(2026, 6, 2): Day.BACKED_UP}

    def test_of_several_the_best_counts(self) -> None:
        """A day whose first attempt failed has a backup."""
        at = datetime(2026, 6, 1, 2, tzinfo=UTC)
        runs = [
            Run(state="failed", started_at=at),
            Run(state="missed", slot=at + timedelta(days=1)),
            Run(state="failed", started_at=at + timedelta(days=1)),
            Run(state="missed", slot=at + timedelta(days=2)),
            Run(state="cancelled", started_at=at + timedelta(days=3)),
            Run(state="running", started_at=at + timedelta(days=3)),
            Run(state="queued"),
        ]
        days = calendar.days_of([backup(at)], runs, None, UTC)
        assert [days.get(date(2026, 6, day)) for day in (1, 2, 3, 4)] == [Day.BACKED_UP, Day.FAILED, Day.MISSED, None]

    def test_a_deleted_backup_is_in_the_calendar_by_its_run(self) -> None:
        run = Run(state="succeeded", started_at=NOW)
        assert calendar.days_of([], [run], None, UTC) == {NOW.date(): Day.BACKED_UP}


class TestBand:
    HOURLY = BackupScheduleConfig(cron="0 * * * *", grace_minutes=30)

    def states(self, backups: list[Manifest], runs: list[Run], schedule: BackupScheduleConfig = HOURLY) -> list[str]:
        return [cell.state for cell in calendar.band(schedule, backups, runs, UTC, NOW)]

    def test_a_schedule_of_once_a_day_has_no_band(self) -> None:
        assert calendar.band(BackupScheduleConfig(cron="0 2 * * *"), [], [], UTC, NOW) == []
        assert calendar.band(None, [], [], UTC, NOW) == []
        assert calendar.band(BackupScheduleConfig(interval_hours=1), [], [], UTC, NOW) == []

    def test_each_slot_of_two_days(self) -> None:
        noon = NOW.replace(minute=0)
        served = backup(noon - timedelta(hours=2) + timedelta(minutes=1))
        late = backup(noon - timedelta(hours=47), slot=noon - timedelta(hours=5))
        runs = [
            Run(state="failed", slot=noon - timedelta(hours=3)),
            Run(state="missed", slot=noon - timedelta(hours=4)),
        ]
        states = self.states([served, late], runs)
        assert len(states) == 48
        assert states[-6:] == ["backed_up", "failed", "failed", "backed_up", "missed", "none"]

    def test_a_slot_that_has_just_come_is_not_missed_yet(self) -> None:
        known = [Run(state="succeeded", slot=NOW - timedelta(days=3))]
        (*_, last) = calendar.band(self.HOURLY, [], known, UTC, NOW)
        assert (last.state, last.title) == ("none", "Wed 12:00: due now")
        (*_, last) = calendar.band(self.HOURLY, [], known, UTC, NOW + timedelta(minutes=31))
        assert (last.state, last.title) == ("missed", "Wed 12:00: missed")

    def test_nothing_is_missed_before_there_was_anything(self) -> None:
        run = Run(state="succeeded", slot=NOW.replace(minute=0) - timedelta(hours=3))
        states = self.states([], [run])
        assert states[:-4] == ["none"] * 44
        assert states[-4:-1] == ["missed"] * 3

    def test_cells_fill_the_width_and_do_not_overlap(self) -> None:
        cells = calendar.band(BackupScheduleConfig(cron="*/5 * * * *"), [], [], UTC, NOW)
        assert len(cells) == 500
        assert all(one.x < other.x for one, other in pairwise(cells))
        assert cells[-1].x + cells[-1].width <= 600


class TestCharts:
    def sizes(self, *sizes: int) -> list[bool]:
        backups = [backup(NOW + timedelta(days=number), size=size) for number, size in enumerate(sizes)]
        return [point.is_unusual for point in charting.charts(backups[::-1], UTC)[0].points]

    def test_one_backup_makes_no_chart(self) -> None:
        assert charting.charts([], UTC) == []
        assert charting.charts([backup(NOW)], UTC) == []

    def test_from_the_oldest_to_the_newest(self) -> None:
        newest_first = [backup(NOW, seconds=20, size=2_000_000), backup(NOW - timedelta(days=1), size=1_000_000)]
        size, duration = charting.charts(newest_first, BERLIN)
        assert (size.label, size.line, size.most) == ("Size", "0.0,30.0 600.0,0.0", "2.0 MB")
        assert (duration.label, duration.line, duration.most) == ("Duration", "0.0,30.0 600.0,0.0", "20.0 s")
        assert size.points[1].title == "2026-06-03 14:01: 2.0 MB"

    def test_what_is_twice_or_half_of_the_usual_is_marked(self) -> None:
        assert self.sizes(100, 100, 100, 201, 100, 49, 100) == [False] * 3 + [True, False, True, False]
        assert self.sizes(100, 100, 100, 200, 50) == [False] * 5
        assert self.sizes(100, 1000, 100) == [False] * 3, "two backups before are too few to know"

    def test_growth_is_not_unusual(self) -> None:
        assert not any(self.sizes(*(100 + 20 * number for number in range(60))))

    def test_empty_archives_divide_by_nothing(self) -> None:
        (size, duration) = charting.charts([backup(NOW, 0, 0), backup(NOW - timedelta(days=1), 0, 0)], UTC)
        assert size.line == duration.line == "0.0,60.0 600.0,60.0"

    def test_at_most_the_last_120_are_drawn(self) -> None:
        many = [backup(NOW - timedelta(hours=number)) for number in range(500)]
        assert [len(chart.points) for chart in charting.charts(many, UTC)] == [120, 120]


@pytest.mark.parametrize(
    ("used", "floor", "limit", "widths", "is_over"),
    [(50, 10, 100, (300, 60), False), (150, 10, 100, (600, 60), True), (50, 10, None, (600, 120), False),
     (0, 0, None, (0, 0), False), (100, 100, 100, (600, 600), False)],
)  # fmt: skip
def test_usage(used: int, floor: int, limit: int | None, widths: tuple[float, float], is_over: bool) -> None:
    usage = charting.Usage(used, floor, limit)
    assert ((usage.used_width, usage.floor_width), usage.is_over) == (widths, is_over)
