"""Properties of retention that hold for every history, tested with random histories.

Some dozens for each promise in `make test`; 100,000, each for all promises, in `make test-long`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from itertools import groupby
from random import Random

import pytest

from django_cfg.backup.formatting import MB
from django_cfg.backup.manifest import Manifest
from tests.support.retention_histories import History, age, for_all_histories


def names(manifests: Iterable[Manifest]) -> set[str]:
    return {manifest.name for manifest in manifests}


def series(manifests: Iterable[Manifest]) -> list[list[Manifest]]:
    """Group by source and kind."""

    def kind(manifest: Manifest) -> tuple[str, bool]:
        return str(manifest.source), manifest.partial

    return [list(group) for _, group in groupby(sorted(manifests, key=kind), kind)]


def protected(history: History) -> set[str]:
    """Return the names of the backups that are never deleted, computed in a second way."""
    found = set(history.sidecars.pinned) | set(history.sidecars.unreadable)
    proofs = history.sidecars.proofs
    for one in series(history.ruled):
        proved = [m for m in one if m.name in proofs and proofs[m.name].succeeded]
        regular = [m for m in one if m.trigger != "before-restore"]
        found.update(max(chosen, key=age).name for chosen in (one, proved, regular) if chosen)
    return found | (names(history.manifests) - names(history.ruled))


def protected_backups_and_those_of_other_projects_are_never_deleted(history: History, _: Random) -> None:
    assert names(history.plan().due) & protected(history) == set()


def every_backup_has_one_decision_with_reasons(history: History, _: Random) -> None:
    decisions = history.plan().decisions
    assert sorted(d.manifest.name for d in decisions) == sorted(m.name for m in history.manifests)
    assert all(decision.reasons and all(decision.reasons) for decision in decisions)


def a_second_prune_deletes_nothing(history: History, _: Random) -> None:
    assert history.without(history.plan().due).plan().due == []


def a_prune_after_an_interrupted_one_keeps_the_same_backups(history: History, chance: Random) -> None:
    due = history.plan().due
    gone = [manifest for manifest in due if chance.random() < 0.5]
    assert names(history.without(gone).plan().due) <= names(due) - names(gone)


def without_a_limit_a_larger_number_never_keeps_less(history: History, chance: Random) -> None:
    less = history.ruled_by(max_total_size_mb=None)
    larger = less.ruled_by(
        keep_daily=min(365, less.policy.keep_daily + chance.randrange(4)),
        keep_weekly=less.policy.keep_weekly + chance.randrange(4),
        keep_monthly=less.policy.keep_monthly + chance.randrange(4),
    )
    assert names(less.plan().kept) <= names(larger.plan().kept)


def the_order_of_the_listing_does_not_matter(history: History, chance: Random) -> None:
    mixed = list(history.manifests)
    chance.shuffle(mixed)
    assert replace(history, manifests=tuple(mixed)).plan() == history.plan()


def without_new_backups_nothing_is_deleted_later(history: History, chance: Random) -> None:
    """On any day of the year after a prune, another prune deletes nothing."""
    left = history.without(history.plan().due)
    for day in (1, chance.randrange(2, 365), 365):
        assert left.at(history.now + timedelta(days=day)).plan().due == []


def the_size_limit_deletes_no_more_than_necessary(history: History, chance: Random) -> None:
    limit = chance.randrange(1, 300)
    history = history.ruled_by(max_total_size_mb=limit)
    made, spared = history.plan(), protected(history)
    kept = [d.manifest for d in made.decisions if d.keep]
    waiting = [d.manifest for d in made.decisions if d.keep and d.reasons[0].startswith("waits")]
    over = [d.manifest for d in made.decisions if not d.keep and d.reasons[0].endswith("oldest unprotected")]
    first = [d.manifest for d in made.decisions if not d.keep and d.reasons[0].endswith("no rule keeps it")]
    size = sum(m.archive.size for m in kept if history.scope.owns(m.source))
    assert size <= limit * MB or names(kept) <= spared
    assert bool(made.warnings) == (size > limit * MB)
    if over:
        assert size + over[0].archive.size > limit * MB  # the youngest of them had to go too
        assert all(age(over[0]) < age(m) for m in kept if m.name not in spared)
        assert not waiting
    elif first:
        assert size + first[0].archive.size > limit * MB
        assert all(age(first[0]) < age(m) for m in waiting)


def without_a_limit_the_rules_decide(history: History, _: Random) -> None:
    """The rules computed in a second way, for each backup alone."""
    history = history.ruled_by(max_total_size_mb=None)
    wanted = {m.name for those in series(history.ruled) for m in those if is_wanted(history, m, those)}
    waiting = {m.name for m in history.ruled if not history.scope.has_turn(m.source)}
    assert names(history.plan().kept) == protected(history) | wanted | waiting


def is_wanted(history: History, manifest: Manifest, those: Sequence[Manifest]) -> bool:
    def day_of(one: Manifest) -> date:
        return one.started_at.astimezone(history.zone).date()

    def week_of(one: Manifest) -> tuple[int, int]:
        return day_of(one).isocalendar()[:2]

    def month_of(one: Manifest) -> tuple[int, int]:
        return day_of(one).year, day_of(one).month

    others = [one for one in those if one.trigger != "before-restore"]
    if len({day_of(one) for one in others if day_of(one) > day_of(manifest)}) < history.policy.keep_daily:
        return True
    if manifest.trigger == "before-restore":
        return False
    return any(
        len({period_of(one) for one in others if period_of(one) > period_of(manifest)}) < count
        and manifest is max((one for one in others if period_of(one) == period_of(manifest)), key=age)
        for period_of, count in ((week_of, history.policy.keep_weekly), (month_of, history.policy.keep_monthly))
    )


def a_prune_of_one_database_deletes_no_more_than_a_prune_of_all(history: History, _: Random) -> None:
    everyones = replace(history, scope=replace(history.scope, only=None))
    assert names(history.plan().due) <= names(everyones.plan().due)


PROMISES: list[Callable[[History, Random], None]] = [
    protected_backups_and_those_of_other_projects_are_never_deleted,
    every_backup_has_one_decision_with_reasons,
    a_second_prune_deletes_nothing,
    a_prune_after_an_interrupted_one_keeps_the_same_backups,
    without_a_limit_a_larger_number_never_keeps_less,
    the_order_of_the_listing_does_not_matter,
    without_new_backups_nothing_is_deleted_later,
    the_size_limit_deletes_no_more_than_necessary,
    without_a_limit_the_rules_decide,
    a_prune_of_one_database_deletes_no_more_than_a_prune_of_all,
]


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_some_random_histories(promise: Callable[[History, Random], None]) -> None:
    for_all_histories(promise, 60)


@pytest.mark.long
def test_random_histories_100_000() -> None:
    def all_promises(history: History, chance: Random) -> None:
        for promise in PROMISES:
            promise(history, chance)

    for_all_histories(all_promises, 100_000)


@pytest.mark.parametrize("examples", [5, pytest.param(2_000, marks=pytest.mark.long)])
def test_a_year_of_daily_prunes_without_a_new_backup_deletes_nothing_more(examples: int) -> None:
    def promise(history: History, _: Random) -> None:
        left = history.without(history.plan().due)
        for day in range(365):
            assert left.at(history.now + timedelta(days=day)).plan().due == []

    for_all_histories(promise, examples)
