"""What a prune would do, as a person reads it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

from django_cfg.backup.errors import ClockSkew
from django_cfg.backup.formatting import format_time, megabytes
from django_cfg.backup.management.output.backups import format_table
from django_cfg.backup.policy.retention import Decision
from django_cfg.backup.services.catalog.catalog import Catalog
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.retention.leftovers import Leftover
from django_cfg.backup.services.retention.prune import decide_everywhere


def format_decisions(made: Sequence[Decision], zone: tzinfo) -> str:
    rows = [
        (
            "keep" if decision.keep else "DELETE",
            decision.name,
            decision.source.database + (" (partial)" if decision.manifest.partial else ""),
            format_time(decision.started_at, zone),
            megabytes(decision.size),
            str(decision),
        )
        for decision in made
    ]
    return format_table(("", "NAME", "DATABASE", "STARTED", "SIZE", "WHY"), rows)


def format_leftovers(found: Sequence[Leftover], zone: tzinfo) -> str:
    rows = [
        (
            "keep" if leftover.spared else "DELETE",
            ", ".join(stored.key for stored in leftover.objects),
            format_time(leftover.modified, zone),
            megabytes(leftover.size),
            leftover.spared or "no manifest",
        )
        for leftover in found
    ]
    return format_table(("", "OBJECTS", "WRITTEN", "SIZE", "WHY"), rows)


def retention_reasons(project: Project, catalog: Catalog, *, briefly: bool = False) -> dict[str, str]:
    """By name what keeps each backup of *catalog*, in words.

    :param briefly: the first reason, and how many more there are.
    """
    try:
        made = decide_everywhere(project, catalog).values()
    except ClockSkew:
        return {manifest.name: "unknown: backup_prune says why" for manifest in catalog.backups}
    nothing = "due for deletion" if project.config.retention.enabled else "retention is off"
    words = _describe_first if briefly else str
    return {one.name: words(one) if one.keep else f"{nothing}: {words(one)}" for one in made}


def _describe_first(decision: Decision) -> str:
    first, *others = decision.reasons
    return f"{first} (+{len(others)})" if others else first
