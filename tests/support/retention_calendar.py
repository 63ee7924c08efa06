"""The calendar of docs/retention.md: a backup each night, and what is kept of them on the last morning."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

from django_cfg.backup.config.backup import BackupRetentionConfig
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.policy.retention import Decision, Scope, Sidecars, plan
from tests.support.manifests import make_manifest

FIRST, LAST = date(2024, 11, 18), date(2025, 1, 15)
MARKS = {"one of": "D", "newest of week": "W", "newest of month": "M"}


def nights(last: date) -> list[Manifest]:
    """A backup at 2:00 each night."""
    days = [FIRST + timedelta(days=number) for number in range((last - FIRST).days + 1)]
    moments = [datetime(day.year, day.month, day.day, 2, tzinfo=UTC) for day in days]
    return [make_manifest(f"default_{moment:%Y%m%d}", started_at=moment) for moment in moments]


def decide(manifests: Sequence[Manifest]) -> tuple[Decision, ...]:
    """Just after the last of them."""
    now = manifests[-1].started_at + timedelta(minutes=5)
    scope = Scope("tests", "test", {"default"})
    return plan(manifests, Sidecars(), BackupRetentionConfig(), now, UTC, scope).decisions


def decisions(last: date = LAST) -> dict[date, Decision]:
    """On the morning of *last*, by day."""
    return {decision.manifest.started_at.date(): decision for decision in decide(nights(last))}


def render() -> str:
    """A line for each week, then one for each backup that is kept."""
    made = decisions()
    weeks = groupby(sorted(made), lambda day: "{}-W{:02}".format(*day.isocalendar()))
    lines = ["           Mon      Tue      Wed      Thu      Fri      Sat      Sun"]
    for week, days in weeks:
        lines.append(f"{week}   " + "".join(f"{_cell(day, made[day]):<9}" for day in days).rstrip())
    kept = [f"{day}   {decision}" for day, decision in made.items() if decision.keep]
    return "\n".join([*lines, "", *kept])


def _cell(day: date, decision: Decision) -> str:
    marks = "".join(mark for words, mark in MARKS.items() if any(r.startswith(words) for r in decision.reasons))
    return f"{day.day:>2} {marks if decision.keep else '-'}"
