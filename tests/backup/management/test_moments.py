"""Dates and times on the command line: backup_list --since and --until, backup_restore --at."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from django_cfg.backup.services.project import clock
from tests.support.django_project import Site


@pytest.fixture
def nights(site: Site, books: Path, monkeypatch: pytest.MonkeyPatch) -> dict[int, str]:
    """The names of backups of three nights of November 2025, by day; made at 03:00 in Berlin, TIME_ZONE."""
    names = {}
    for day in (18, 19, 20):
        with monkeypatch.context() as patch:
            patch.setattr(clock, "now", lambda day=day: datetime(2025, 11, day, 2, 0, tzinfo=UTC))
            names[day] = site.create().name
    return names


PERIODS: list[tuple[list[str], list[int]]] = [
    (["--since", "2025-11-19"], [20, 19]),
    (["--until", "2025-11-19"], [19, 18]),
    (["--since", "2025-11-19", "--until", "2025-11-19"], [19]),
    (["--since", "2025-11-19 03:00"], [20, 19]),
    (["--since", "2025-11-19 03:00:01"], [20]),
    (["--since", "2025-11-19T03:00+00:00"], [20]),
    (["--until", "2025-11-19T02:00Z"], [19, 18]),
    (["--until", "2025-11-17"], []),
]
NONSENSE = [
    (["backup_list", "--since", "yesterday"], "no date and time"),
    (["backup_list", "--until", ""], "no date and time"),
    (["backup_list", "--until", "0001-01-01"], "out of range"),
    (["backup_list", "--since", "2025-11-20", "--until", "2025-11-19"], "ends before it begins"),
    (["backup_restore", "--at", "noon"], "no date and time"),
    (["backup_restore", "--at", "2025-13-01 03:00"], "no date and time"),
    (["backup_restore", "--at", ""], "no date and time"),
    (["backup_restore", "--at", "2025-11-20"], "give the time, too"),
    (["backup_list", "--since", "0001-01-01"], "is out of range"),
    (["backup_restore", "--at", "0001-01-01 03:00"], "is out of range"),
    (["backup_restore", "--at", "9000-01-01 03:00"], "in the future"),
    (["backup_restore", "--at", "2025-10-26 02:30"], "occurs twice in Europe/Berlin"),
    (["backup_restore", "--at", "2025-03-30 02:30"], "does not exist in Europe/Berlin"),
    (["backup_restore", "--at", "2025-11-20 03:00", "--resume"], "leave it out"),
    (["backup_restore", "default_2025", "--at", "2025-11-20 03:00"], "one of the two"),
    (["backup_restore", "--at", "2025-11-20 03:00", "--database", "nosuch"], "no database 'nosuch'"),
    (["backup_restore", "--at", "2025-11-19 03:00", "--undo", "x"], "leave it out"),
]


def test_backups_of_a_period_are_listed(site: Site, nights: dict[int, str]) -> None:
    """A date is the entire day; both bounds are included."""
    for options, days in PERIODS:
        listed = site.call("backup_list", "--json", *options)
        assert [manifest["name"] for manifest in listed.json] == [nights[day] for day in days], options
        assert ("in this period" in listed.stderr) == (not days)


@pytest.mark.usefixtures("nights")
def test_nonsense_is_wrong_usage(site: Site) -> None:
    """It never means the newest backup."""
    before = site.content()
    for (command, *options), words in NONSENSE:
        answer = site.call(command, *options, **({"yes": True} if command == "backup_restore" else {}))
        assert (answer.code, words in answer.stderr) == (2, True), (options, answer.stderr)
    assert site.content() == before


class TestSeconds:
    """A backup is begun within a second, and shown with that second: what is shown has to find it."""

    @pytest.fixture
    def within(self, site: Site, books: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The names of backups of 03:00:00.4 of two days in Berlin."""
        names = []
        for day in (19, 20):
            with monkeypatch.context() as patch:
                patch.setattr(clock, "now", lambda day=day: datetime(2025, 11, day, 2, 0, 0, 400_000, tzinfo=UTC))
                names.append(site.create().name)
        return names

    def test_a_restore(self, site: Site, within: list[str]) -> None:
        for name in within:
            shown = re.search(rf"{name}.*?(\S+ 03:00:00) CET", site.call("backup_list").stdout)
            assert shown
            answer = site.call("backup_restore", "--at", shown[1], "--yes", "--json", "--discard-old")
            assert (answer.code, answer.json["restored"]) == (0, name), answer.stderr

    def test_a_period(self, site: Site, within: list[str]) -> None:
        answer = site.call("backup_list", "--until", "2025-11-19 03:00:00", "--json")
        assert [found["name"] for found in answer.json] == within[:1]

    def test_fractions_are_exact(self, site: Site, within: list[str]) -> None:
        for fraction, count in (("399999", 0), ("400000", 1)):
            answer = site.call("backup_list", "--until", f"2025-11-19 03:00:00.{fraction}", "--json")
            assert len(answer.json) == count


class TestRestoreAt:
    def test_the_newest_that_is_not_later_is_restored(self, site: Site, nights: dict[int, str]) -> None:
        for at, day in (("2025-11-19 03:00", 19), ("2025-11-20 02:59:59", 19), ("2025-11-20 02:59:59+00:00", 20)):
            answer = site.call("backup_restore", "--at", at, "--yes", "--json", "--discard-old")
            assert answer.json["restored"] == nights[day], at

    def test_the_oldest_is_named_where_none_is_that_old(self, site: Site, nights: dict[int, str]) -> None:
        answer = site.call("backup_restore", "--at", "2025-11-18 02:59", "--yes")
        assert answer.code == 5
        assert f"the oldest one is {nights[18]}, of 2025-11-18 03:00:00 CET" in answer.stderr

    def test_of_several_databases_one_has_to_be_named(self, site: Site, nights: dict[int, str]) -> None:
        sqlite, second = "django.db.backends.sqlite3", site.root / "second.sqlite3"
        site.sql("CREATE TABLE book (id integer)", database=second)
        databases = {"default": site.database, "shop": second}
        site.use_databases(**{alias: {"ENGINE": sqlite, "NAME": str(path)} for alias, path in databases.items()})
        site.create("shop")
        answer = site.call("backup_restore", "--at", "2025-11-20 03:00", "--yes")
        assert (answer.code, "choose one with --database" in answer.stderr) == (2, True)
        chosen = site.call("backup_restore", "--at", "2025-11-20 03:00", "--database", "default", "--yes", "--json")
        assert chosen.json["restored"] == nights[20]
        younger = site.call("backup_restore", "--at", "2025-11-20 03:00", "--database", "shop", "--yes")
        assert younger.code == 5

    def test_what_was_made_before_a_restore_is_not_meant(
        self, site: Site, nights: dict[int, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(clock, "now", lambda: datetime(2025, 11, 20, 4, 0, tzinfo=UTC))
            site.create(trigger="before-restore")
        answer = site.call("backup_restore", "--at", "2025-11-21 00:00", "--yes", "--json")
        assert answer.json["restored"] == nights[20]
