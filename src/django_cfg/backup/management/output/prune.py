"""What a prune would do, as a person reads it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

from django_cfg.backup.errors import ClockSkew
from django_cfg.backup.formatting import megabytes
from django_cfg.backup.management.output.backups import columns, local
from django_cfg.backup.policy.retention import Decision
from django_cfg.backup.services.catalog.catalog import Catalog
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.retention.leftovers import Leftover
from django_cfg.backup.services.retention.prune import decide


def decisions(made: Sequence[Decision], zone: tzinfo) -> str:
    rows = [
        (
            "keep" if decision.keep else "DELETE",
            decision.name,
            decision.source.database + (" (partial)" if decision.manifest.partial else ""),
            local(decision.started_at, zone),
            megabytes(decision.size),
            str(decision),
        )
        for decision in made
    ]
    return columns(("", "NAME", "DATABASE", "STARTED", "SIZE", "WHY"), rows)


def leftovers(found: Sequence[Leftover], zone: tzinfo) -> str:
    rows = [
        (
            "keep" if leftover.spared else "DELETE",
            ", ".join(stored.key for stored in leftover.objects),
            local(leftover.modified, zone),
            megabytes(leftover.size),
            leftover.spared or "no manifest",
        )
        for leftover in found
    ]
    return columns(("", "OBJECTS", "WRITTEN", "SIZE", "WHY"), rows)


def what_keeps(project: Project, catalog: Catalog) -> dict[str, str]:
    """By name what keeps each backup of *catalog*, in words."""
    try:
        made = decide(project, catalog).decisions
    except ClockSkew:
        return {manifest.name: "unknown: backup_prune says why" for manifest in catalog.backups}
    nothing = "due for deletion" if project.config.retention.enabled else "retention is off"
    return {one.name: str(one) if one.keep else f"{nothing}: {one}" for one in made}
