"""Which backups are kept, and why. The rules of docs/retention.md, a function each; the words are theirs.

Pure: from what a storage holds, a policy, the time and its zone to decisions. Nothing is read or deleted.

The rules count within a *series*: the backups of one source, newest first, complete and partial ones separately,
so that a backup of some tables never counts for a complete one. A *regular* backup is any but one that was
made before a restore: such a backup holds what was about to be replaced, and counts for no day, week or month.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from itertools import groupby
from typing import Self

from pydantic import Field, SkipValidation

from django_cfg.backup.config.backup import BackupRetentionConfig
from django_cfg.backup.errors import ClockSkew
from django_cfg.backup.formatting import MB, counted, megabytes
from django_cfg.backup.manifest import Manifest, Proof, Source
from django_cfg.backup.records import Moment, Record

CLOCK_TOLERANCE = timedelta(minutes=5)  # between the clocks of the machines that share a storage
Reason = tuple[Manifest, str]  # a backup, and what keeps it
Reasons = dict[str, tuple[str, ...]]  # by the backup's name


@dataclass(frozen=True)
class Scope:
    """Whose backups the rules are for."""

    project: str
    env: str
    databases: Collection[str]  # the aliases of settings.DATABASES
    orphans: bool = False  # the rules are also for the backups of databases that are not among them
    only: str | None = None  # the one alias whose turn it is; None: everyone's

    def owns(self, source: Source) -> bool:
        return (source.project, source.env) == (self.project, self.env)

    def is_orphaned(self, source: Source) -> bool:
        return source.database not in self.databases

    def has_turn(self, source: Source) -> bool:
        return self.only in (None, source.database)


@dataclass(frozen=True)
class Sidecars:
    """The proofs and pins of the backups, by the backups' names."""

    proofs: Mapping[str, Proof] = field(default_factory=dict)
    pinned: Collection[str] = frozenset()
    unreadable: Collection[str] = frozenset()  # the last proof exists and cannot be read

    def proves(self, manifest: Manifest) -> bool:
        proof = self.proofs.get(manifest.name)
        return proof is not None and proof.proves(manifest)


class Decision(Record):
    """Whether one backup is kept, and why."""

    name: str
    source: Source
    started_at: Moment
    size: int  # bytes of the archive as stored
    keep: bool
    reasons: tuple[str, ...]
    manifest: SkipValidation[Manifest] = Field(exclude=True)

    @classmethod
    def on(cls, manifest: Manifest, reasons: tuple[str, ...], *, keep: bool) -> Self:
        """Return the decision on *manifest*."""
        return cls(
            name=manifest.name,
            source=manifest.source,
            started_at=manifest.started_at,
            size=manifest.size,
            keep=keep,
            reasons=reasons,
            manifest=manifest,
        )

    def __str__(self) -> str:
        return "; ".join(self.reasons)


@dataclass(frozen=True)
class Plan:
    """A decision on every backup of the storage, newest first; nothing has been touched."""

    decisions: tuple[Decision, ...]
    warnings: tuple[str, ...] = ()

    @property
    def kept(self) -> list[Manifest]:
        return [decision.manifest for decision in self.decisions if decision.keep]

    @property
    def due(self) -> list[Manifest]:
        """What the rules want deleted."""
        return [decision.manifest for decision in self.decisions if not decision.keep]


def expected_ends(
    manifests: Iterable[Manifest], policy: BackupRetentionConfig, zone: tzinfo, today: date
) -> dict[str, date]:
    """Return by name the day from which no rule keeps a backup any more, if one is made every day from now on.

    Only of the backups that a rule of days, weeks or months keeps. A limit of size may end them earlier; a pin, a
    proof, and that it is the newest, later.
    """
    newest_first = sorted(manifests, key=lambda manifest: (manifest.started_at, manifest.name), reverse=True)
    ends: dict[str, date] = {}
    for series in _series(newest_first):
        regular = [(m, m.started_at.astimezone(zone).date()) for m in series if _is_regular(m)]
        if not regular:
            continue
        first = max(today, regular[0][1] + timedelta(days=1))  # the day of the next backup
        daily = _newest_periods(regular, policy.keep_daily, date.isoformat)
        for number, (_, backups) in enumerate(daily):
            for manifest in backups:
                ends[manifest.name] = first + timedelta(days=policy.keep_daily - number - 1)
        monday = first - timedelta(days=first.weekday())
        for number, manifest in _closed(regular, policy.keep_weekly, _iso_week, first):
            end = max(first, monday + timedelta(weeks=policy.keep_weekly - number - 1))
            ends[manifest.name] = max(end, ends.get(manifest.name, end))
        for number, manifest in _closed(regular, policy.keep_monthly, _month, first):
            end = max(first, _months_later(first, policy.keep_monthly - number - 1))
            ends[manifest.name] = max(end, ends.get(manifest.name, end))
    return ends


def _closed(
    regular: Sequence[tuple[Manifest, date]], count: int, period_of: Callable[[date], str], first: date
) -> Iterator[tuple[int, Manifest]]:
    """Yield the newest backup of each period that one keeps, and how many periods with backups have begun after it.

    Not of the period of *first*, the day of the next backup: that one takes its place.
    """
    current = period_of(first)
    before = [(manifest, day) for manifest, day in regular if period_of(day) != current]
    is_open = len(before) < len(regular)
    for number, (_, backups) in enumerate(_newest_periods(before, count - is_open, period_of)):
        yield number, backups[0]


def is_from_the_future(manifest: Manifest, now: datetime) -> bool:
    """Dated further ahead of *now* than clocks differ: its clock was wrong, or ours is."""
    return manifest.started_at > now + CLOCK_TOLERANCE


def plan(
    manifests: Iterable[Manifest],
    sidecars: Sidecars,
    policy: BackupRetentionConfig,
    now: datetime,
    zone: tzinfo,
    scope: Scope,
) -> Plan:
    """Decide on every one of *manifests*, which are all backups of a storage in any order.

    :param zone: where days, ISO weeks and months begin.
    :raises ClockSkew: a backup of this project and environment is dated ahead of *now*.
    """
    newest_first = sorted(manifests, key=lambda manifest: (manifest.started_at, manifest.name), reverse=True)
    own = [manifest for manifest in newest_first if scope.owns(manifest.source)]
    _refuse_the_future(own, now)
    left_alone = _by_name(_left_alone(newest_first, scope))
    all_series = _series(manifest for manifest in own if manifest.name not in left_alone)
    protected = left_alone | _by_name(r for series in all_series for r in never_deleted(series, sidecars))
    wanted = _by_name(r for series in all_series for r in _by_the_rules(series, policy, zone))
    kept = _joined(protected, wanted)
    waiting = _by_name(_waiting(own, kept, scope))
    first_to_go = [m for m in own if m.name in kept and m.name not in protected] + [m for m in own if m.name in waiting]
    size = sum(manifest.size for manifest in own if manifest.name in kept or manifest.name in waiting)
    over, warnings = _over_the_limit(size, first_to_go[::-1], waiting, policy)
    stays = {name: why for name, why in (waiting | kept).items() if name not in over}
    dropped = _dropped(policy)
    decisions = (
        Decision.on(m, stays.get(m.name) or over.get(m.name) or dropped, keep=m.name in stays) for m in newest_first
    )
    return Plan(tuple(decisions), warnings)


def _refuse_the_future(own: Iterable[Manifest], now: datetime) -> None:
    """Either its clock is wrong or ours is; by a wrong clock nothing is deleted."""
    for manifest in own:
        if is_from_the_future(manifest, now):
            raise ClockSkew.of(manifest.name, manifest.source, manifest.started_at, now)


def _left_alone(newest_first: Iterable[Manifest], scope: Scope) -> Iterator[Reason]:
    """Other projects and environments are none of our business; orphans wait until somebody asks for them."""
    for manifest in newest_first:
        source = manifest.source
        if not scope.owns(source):
            yield manifest, f"of another source: {source}"
        elif scope.is_orphaned(source) and not scope.orphans:
            yield manifest, f"orphaned: DATABASES has no {source.database!r}"


def _series(newest_first: Iterable[Manifest]) -> list[list[Manifest]]:
    def kind(manifest: Manifest) -> tuple[str, bool]:
        return manifest.source.database, manifest.partial

    return [list(group) for _, group in groupby(sorted(newest_first, key=kind), kind)]  # sorting keeps the order


def never_deleted(series: Sequence[Manifest], sidecars: Sidecars) -> Iterator[Reason]:
    """The newest, the newest proved, the pinned: no limit of size deletes these.

    :param series: the backups of one source, complete or partial ones, newest first; not empty.
    """
    partial = "partial " if series[0].partial else ""
    yield series[0], f"newest {partial}backup"
    if not _is_regular(series[0]):
        yield from _first(filter(_is_regular, series), f"newest {partial}backup not made before a restore")
    yield from _first(filter(sidecars.proves, series), f"newest proved {partial}backup")
    for manifest in series:
        if manifest.name in sidecars.pinned:
            yield manifest, "pinned"
        if manifest.name in sidecars.unreadable:
            yield manifest, "its proof cannot be read"


def _by_the_rules(series: Sequence[Manifest], policy: BackupRetentionConfig, zone: tzinfo) -> Iterator[Reason]:
    """Grandfather, father, son. Only what exists is counted: gaps use up nothing, and no age is measured."""
    days = {manifest.name: manifest.started_at.astimezone(zone).date() for manifest in series}
    regular = [(manifest, days[manifest.name]) for manifest in series if _is_regular(manifest)]
    daily = _newest_periods(regular, policy.keep_daily, date.isoformat)
    weekly = _newest_periods(regular, policy.keep_weekly, _iso_week)
    monthly = _newest_periods(regular, policy.keep_monthly, _month)
    wanted_days = counted(policy.keep_daily, "day")
    for day, backups in daily:
        yield from ((manifest, f"one of {wanted_days}: {day}") for manifest in backups)
    yield from ((backups[0], f"newest of week {week}") for week, backups in weekly)
    yield from ((backups[0], f"newest of month {month}") for month, backups in monthly)
    reach = daily[-1][0] if len(daily) == policy.keep_daily else ""
    for manifest in series:
        if not _is_regular(manifest) and days[manifest.name].isoformat() >= reach:
            yield manifest, f"made before a restore, as young as the {wanted_days}"


def _waiting(own: Iterable[Manifest], kept: Collection[str], scope: Scope) -> Iterator[Reason]:
    """What the rules drop of a database that has not just been backed up: its own next backup comes first."""
    for manifest in own:
        if manifest.name not in kept and not scope.has_turn(manifest.source):
            yield manifest, f"waits for the next backup of {manifest.source.database!r}"


def _newest_periods(
    regular: Iterable[tuple[Manifest, date]], count: int, period_of: Callable[[date], str]
) -> list[tuple[str, list[Manifest]]]:
    """The newest *count* periods that have backups, each with its backups, newest first.

    Sorted by the period: where clocks go back over midnight, a day is left and entered again.
    """
    periods: dict[str, list[Manifest]] = {}
    for manifest, day in regular:
        periods.setdefault(period_of(day), []).append(manifest)
    return sorted(periods.items(), reverse=True)[:count]


def _over_the_limit(
    size: int, first_to_go: Sequence[Manifest], waiting: Collection[str], policy: BackupRetentionConfig
) -> tuple[Reasons, tuple[str, ...]]:
    """What goes until the rest is within the limit; a warning when that is not enough.

    :param size: bytes of all that there would be.
    :param first_to_go: the unprotected ones: what waits to be dropped anyhow, then the others, oldest first.
    """
    if policy.max_total_size_mb is None:
        return {}, ()
    limit, excess = policy.max_total_size_mb, size - policy.max_total_size_mb * MB
    over: Reasons = {}
    for manifest in first_to_go:
        if excess > 0:
            why = "no rule keeps it" if manifest.name in waiting else "oldest unprotected"
            over[manifest.name] = (f"over {limit:,} MB: {why}",)
            excess -= manifest.size
    return over, (_exceeded(limit, excess),) if excess > 0 else ()


def _dropped(policy: BackupRetentionConfig) -> tuple[str]:
    wanted = {"day": policy.keep_daily, "week": policy.keep_weekly, "month": policy.keep_monthly}
    return ("none of " + ", ".join(counted(number, period) for period, number in wanted.items()),)


def _exceeded(limit: int, excess: int) -> str:
    return (
        f"What is never deleted takes {megabytes(limit * MB + excess)}, and max_total_size_mb is {limit:,}: "
        "it is kept. Raise the limit, unpin or delete backups, or look at the orphans (backup_prune --orphans)."
    )


def _is_regular(manifest: Manifest) -> bool:
    return manifest.trigger != "before-restore"


def _iso_week(day: date) -> str:
    year, week, _ = day.isocalendar()
    return f"{year:04}-W{week:02}"


def _month(day: date) -> str:
    return day.isoformat()[:7]


def _months_later(day: date, months: int) -> date:
    """Return the first day of the month that is *months* later."""
    number = day.year * 12 + day.month - 1 + months
    return date(number // 12, number % 12 + 1, 1)


def _first(manifests: Iterator[Manifest], reason: str) -> Iterator[Reason]:
    for manifest in manifests:
        yield manifest, reason
        return


def _by_name(reasons: Iterable[Reason]) -> Reasons:
    found: Reasons = {}
    for manifest, reason in reasons:
        found[manifest.name] = (*found.get(manifest.name, ()), reason)
    return found


def _joined(some: Reasons, others: Reasons) -> Reasons:
    return {name: (*some.get(name, ()), *others.get(name, ())) for name in some | others}
