"""Due times: the same for every ticker, and correct on the nights of a clock change."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_cfg import BackupScheduleConfig
from django_cfg.backup.policy.schedule import latest_slot, next_slot, slots_between

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [BERLIN, ZoneInfo("UTC"), ZoneInfo("America/Havana"), ZoneInfo("Australia/Lord_Howe"), ZoneInfo("Asia/Beirut")]
CRONS = [
    *("0 2 * * *", "30 2 * * *", "15 0,1,2,3 * * *", "0 0 1 * *", "*/30 * * * *", "5 3 * * 0"),
    *("0 */2 * * *", "*/10 */3 * * *"),
]
SPRING = datetime(2026, 3, 29, 1, tzinfo=UTC)  # in Berlin 2:00 becomes 3:00
AUTUMN = datetime(2026, 10, 25, 1, tzinfo=UTC)  # in Berlin 3:00 becomes 2:00


def utc(*moment: int) -> datetime:
    return datetime(*moment, tzinfo=UTC)  # type: ignore[misc,arg-type]


def slots(schedule: BackupScheduleConfig, zone: ZoneInfo, around: datetime, hours: int = 24) -> list[datetime]:
    """Return the slots seen by a ticker that runs every five minutes, *hours* before and after *around*."""
    met: list[datetime] = []
    moment = around - timedelta(hours=hours)
    while moment <= around + timedelta(hours=hours):
        slot = latest_slot(schedule, zone, moment)
        if slot and slot not in met and slot > around - timedelta(hours=hours):
            met.append(slot)
        moment += timedelta(minutes=5)
    return met


class TestClockChange:
    @pytest.mark.parametrize(
        ("cron", "change", "expected"),
        [
            # skipped: due when the clock has jumped
            ("0 2 * * *", SPRING, [utc(2026, 3, 29, 1), utc(2026, 3, 30, 0)]),
            ("30 2 * * *", SPRING, [utc(2026, 3, 28, 1, 30), utc(2026, 3, 29, 1), utc(2026, 3, 30, 0, 30)]),
            # repeated: due once, the first time
            ("0 2 * * *", AUTUMN, [utc(2026, 10, 25, 0), utc(2026, 10, 26, 1)]),
            ("45 2 * * *", AUTUMN, [utc(2026, 10, 25, 0, 45)]),
            ("0 3 * * *", AUTUMN, [utc(2026, 10, 25, 2)]),
        ],
    )
    def test_a_time_of_day_is_due_once_each_night(self, cron: str, change: datetime, expected: list[datetime]) -> None:
        assert slots(BackupScheduleConfig(cron=cron), BERLIN, change) == expected

    @pytest.mark.parametrize("change", [SPRING, AUTUMN])
    def test_every_half_hour_follows_elapsed_time(self, change: datetime) -> None:
        """No gap of an hour and a half in spring, no doubled slot in autumn."""
        met = slots(BackupScheduleConfig(cron="*/30 * * * *"), BERLIN, change)
        assert {later - earlier for earlier, later in pairwise(met)} == {timedelta(minutes=30)}

    @pytest.mark.parametrize("change", [SPRING, AUTUMN])
    def test_daily_time_is_like_cron(self, change: datetime) -> None:
        daily = slots(BackupScheduleConfig(daily_time=time(2, 30)), BERLIN, change)
        assert daily == slots(BackupScheduleConfig(cron="30 2 * * *"), BERLIN, change)

    @pytest.mark.parametrize("change", [SPRING, AUTUMN])
    def test_the_due_slot_never_goes_back(self, change: datetime) -> None:
        """By local time the repeated hour would come before itself."""
        schedule = BackupScheduleConfig(cron="15,45 1,2,3 * * *")
        moments = [change + timedelta(minutes=minute) for minute in range(-300, 300)]
        due = [latest_slot(schedule, BERLIN, moment) for moment in moments]
        assert due == sorted(due, key=lambda slot: slot or change)

    def test_a_night_that_repeats_half_an_hour(self) -> None:
        """On Lord Howe Island: the next slots are the same as the previous slots seen later."""
        zone, schedule = ZoneInfo("Australia/Lord_Howe"), BackupScheduleConfig(cron="0 */2 * * *")
        moments = [utc(2026, 4, 4, 12) + timedelta(minutes=minute) for minute in range(600)]
        for moment in moments:
            ahead = next_slot(schedule, zone, moment)
            assert latest_slot(schedule, zone, ahead) == ahead
            assert latest_slot(schedule, zone, ahead - timedelta(seconds=1)) == latest_slot(schedule, zone, moment)


class TestByTheClock:
    def test_a_slot_is_due_at_its_exact_second(self) -> None:
        schedule = BackupScheduleConfig(cron="0 2 * * *")
        at = utc(2026, 6, 1, 0)
        assert latest_slot(schedule, BERLIN, at) == at
        assert latest_slot(schedule, BERLIN, at + timedelta(microseconds=1)) == at
        assert latest_slot(schedule, BERLIN, at - timedelta(microseconds=1)) == at - timedelta(days=1)

    def test_the_next_slot_is_in_the_future(self) -> None:
        schedule = BackupScheduleConfig(cron="0 2 * * *")
        assert next_slot(schedule, BERLIN, utc(2026, 6, 1, 0)) == utc(2026, 6, 2, 0)
        assert next_slot(schedule, BERLIN, utc(2026, 5, 31, 23, 59)) == utc(2026, 6, 1, 0)

    def test_a_daily_time_may_have_seconds(self) -> None:
        schedule = BackupScheduleConfig(daily_time=time(2, 0, 30))
        assert latest_slot(schedule, BERLIN, utc(2026, 6, 1, 0, 0, 29)) == utc(2026, 5, 31, 0, 0, 30)
        assert latest_slot(schedule, BERLIN, utc(2026, 6, 1, 0, 0, 30)) == utc(2026, 6, 1, 0, 0, 30)

    @pytest.mark.parametrize("nickname", ["@daily", "@hourly", "@weekly", "@monthly", "@yearly"])
    def test_cron_nicknames_are_accepted(self, nickname: str) -> None:
        slot = latest_slot(BackupScheduleConfig(cron=nickname), BERLIN, utc(2026, 6, 1, 12, 34))
        assert slot is not None
        assert slot <= utc(2026, 6, 1, 12, 34)

    def test_slots_between_are_the_newest(self) -> None:
        schedule = BackupScheduleConfig(cron="0 * * * *")
        found = slots_between(schedule, BERLIN, utc(2026, 6, 1, 0), utc(2026, 6, 1, 12), 3)
        assert found == [utc(2026, 6, 1, 11), utc(2026, 6, 1, 10), utc(2026, 6, 1, 9)]
        assert slots_between(schedule, BERLIN, utc(2026, 6, 1, 0), utc(2026, 6, 1, 1), 3) == []

    @settings(max_examples=150, deadline=None)
    @given(
        cron=st.sampled_from(CRONS),
        zone=st.sampled_from(ZONES),
        moment=st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1)),
    )
    def test_next_and_previous_slots_agree(self, cron: str, zone: ZoneInfo, moment: datetime) -> None:
        """The next slot becomes the latest one, and no slot is between the two."""
        schedule, now = BackupScheduleConfig(cron=cron), moment.replace(tzinfo=UTC)
        before, after = latest_slot(schedule, zone, now), next_slot(schedule, zone, now)
        assert before is not None
        assert before <= now < after
        assert latest_slot(schedule, zone, after) == after
        assert latest_slot(schedule, zone, after - timedelta(seconds=1)) == before
        assert slots_between(schedule, zone, before, after, 5) == []


class TestInterval:
    SCHEDULE = BackupScheduleConfig(interval_hours=6)

    def test_an_interval_counts_from_the_last_start(self) -> None:
        started = utc(2026, 6, 1, 1, 23, 45)
        due = utc(2026, 6, 1, 7, 23, 45)
        assert latest_slot(self.SCHEDULE, BERLIN, due - timedelta(seconds=1), started) is None
        assert latest_slot(self.SCHEDULE, BERLIN, due, started) == due
        assert latest_slot(self.SCHEDULE, BERLIN, due + timedelta(days=9), started) == due
        assert next_slot(self.SCHEDULE, BERLIN, utc(2026, 6, 1, 2), started) == due

    def test_without_a_start_the_interval_is_due_immediately_for_all_tickers(self) -> None:
        moments = [utc(2026, 6, 1, 12) + timedelta(minutes=minute) for minute in range(360)]
        assert {latest_slot(self.SCHEDULE, BERLIN, moment) for moment in moments} == {utc(2026, 6, 1, 12)}

    def test_an_interval_has_no_missed_slots(self) -> None:
        assert slots_between(self.SCHEDULE, BERLIN, utc(2026, 1, 1), utc(2026, 6, 1), 9) == []
