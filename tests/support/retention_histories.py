"""Histories that chance makes up: backups of several databases, projects and kinds, with proofs and pins."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from django_cfg.backup.config.backup import BackupRetentionConfig
from django_cfg.backup.formatting import MB
from django_cfg.backup.manifest import Manifest, Proof, Source
from django_cfg.backup.policy.retention import Plan, Scope, Sidecars, plan
from tests.support.manifests import make_manifest

BEGIN = datetime(2024, 12, 20, tzinfo=UTC)
LONGEST = timedelta(days=900)
PATTERN = make_manifest("pattern")
SOURCES = [
    *(Source(project="tests", env="test", database=database) for database in ("app", "app_logs", "gone")),
    Source(project="tests", env="production", database="app"),
    Source(project="other", env="test", database="app"),
]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Pacific/Apia", "Asia/Kolkata"]


@dataclass(frozen=True)
class History:
    """All that a plan is made from."""

    manifests: tuple[Manifest, ...]
    sidecars: Sidecars
    policy: BackupRetentionConfig
    zone: ZoneInfo
    scope: Scope
    now: datetime

    def plan(self) -> Plan:
        return plan(self.manifests, self.sidecars, self.policy, self.now, self.zone, self.scope)

    def without(self, gone: list[Manifest]) -> History:
        names = {manifest.name for manifest in gone}
        return replace(self, manifests=tuple(m for m in self.manifests if m.name not in names))

    def at(self, now: datetime) -> History:
        return replace(self, now=now)

    def ruled_by(self, **policy: int | None) -> History:
        return replace(self, policy=self.policy.model_copy(update=policy))

    @property
    def ruled(self) -> list[Manifest]:
        """The backups that the rules are for."""
        databases = {"app", "app_logs"} | ({"gone"} if self.scope.orphans else set())
        return [m for m in self.manifests if self.scope.owns(m.source) and m.source.database in databases]


def age(manifest: Manifest) -> tuple[datetime, str]:
    return manifest.started_at, manifest.name


@dataclass(frozen=True)
class Kind:
    """What a made-up backup is, but for its time and size."""

    source: Source
    partial: bool
    trigger: str
    mark: str


# one draw for all: hypothesis is quicker with few big choices than with many small ones; the common is the most likely
KINDS = [
    Kind(*chosen)
    for chosen in itertools.product(
        SOURCES[:1] * 5 + SOURCES[1:],
        [False] * 4 + [True],
        ["scheduled"] * 5 + ["before-restore"],
        [""] * 8 + ["proved", "failed", "pinned", "unreadable"],
    )
]
# half of them within a few days, so that days, weeks and moments coincide
MINUTES = some.integers(0, 20 * 48).map(lambda number: 30 * number) | some.integers(0, 800 * 24).map(lambda n: 60 * n)
LINE = some.tuples(some.sampled_from(KINDS), MINUTES, some.integers(0, 30))
LINES = some.integers(0, 16).flatmap(lambda least: some.lists(LINE, min_size=least, max_size=24))
POLICIES = some.builds(
    BackupRetentionConfig,
    keep_daily=some.integers(1, 4) | some.sampled_from([7, 365]),
    keep_weekly=some.integers(0, 3),
    keep_monthly=some.integers(0, 3),
    max_total_size_mb=some.none() | some.integers(1, 300),
)
SCOPES = [
    Scope("tests", "test", frozenset({"app", "app_logs"}), orphans, only)
    for orphans in (False, True)
    for only in (None, "app")
]


def make_history(
    lines: list[tuple[Kind, int, int]], policy: BackupRetentionConfig, zone: ZoneInfo, scope: Scope
) -> History:
    made = [make_backup(f"backup{number}", *line) for number, line in enumerate(lines)]
    marks = [(manifest, kind.mark) for manifest, (kind, _, _) in zip(made, lines, strict=True)]
    sidecars = Sidecars(
        proofs={m.name: proof_of(m, succeeded=mark == "proved") for m, mark in marks if mark in ("proved", "failed")},
        pinned=frozenset(m.name for m, mark in marks if mark == "pinned"),
        unreadable=frozenset(m.name for m, mark in marks if mark == "unreadable"),
    )
    return History(tuple(made), sidecars, policy, zone, scope, BEGIN + LONGEST)


def make_backup(name: str, kind: Kind, minutes: int, megabytes: int) -> Manifest:
    changes: dict[str, Any] = {
        "name": name,
        "source": kind.source,
        "started_at": BEGIN + timedelta(minutes=minutes),
        "partial": kind.partial,
        "trigger": kind.trigger,
        "archive": PATTERN.archive.model_copy(update={"size": megabytes * MB, "key": f"{name}.sqlite3"}),
    }
    return PATTERN.model_copy(update=changes)


def proof_of(manifest: Manifest, *, succeeded: bool) -> Proof:
    return Proof(
        name=manifest.name,
        archive_sha256=manifest.archive.sha256,
        at=manifest.started_at,
        duration=1,
        succeeded=succeeded,
    )


HISTORIES = some.builds(
    make_history, LINES, POLICIES, some.sampled_from([ZoneInfo(zone) for zone in ZONES]), some.sampled_from(SCOPES)
)


def for_all_histories(promise: Callable[[History, Random], None], examples: int) -> None:
    """Try *promise* with as many histories, and with something random of its own."""
    tried = given(HISTORIES, some.randoms(use_true_random=False))(promise)
    settings(max_examples=examples, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])(tried)()
