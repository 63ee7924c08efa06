"""What a prune would do and what it did, as a person reads it and as a document."""

from __future__ import annotations

from collections.abc import Container, Sequence
from datetime import tzinfo
from typing import Any

from django_cfg.backup.errors import ClockSkew
from django_cfg.backup.formatting import megabytes
from django_cfg.backup.management.output.backups import columns, local
from django_cfg.backup.policy.retention import Decision
from django_cfg.backup.services.catalog.catalog import Catalog
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.retention.leftovers import Leftover
from django_cfg.backup.services.retention.prune import Pruned, decide


def decisions(made: Sequence[Decision], zone: tzinfo) -> str:
    rows = [
        (
            "keep" if decision.keep else "DELETE",
            decision.manifest.name,
            decision.manifest.source.database + (" (partial)" if decision.manifest.partial else ""),
            local(decision.manifest.started_at, zone),
            megabytes(decision.manifest.archive.size),
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
        return {manifest.name: "unknown: backup_prune tells why" for manifest in catalog.backups}
    nothing = "due for deletion" if project.config.retention.enabled else "retention is off"
    return {one.manifest.name: str(one) if one.keep else f"{nothing}: {one}" for one in made}


def document(pruned: Pruned, project: Project) -> dict[str, Any]:
    retention = pruned.plan.retention
    return {
        "decisions": [_decision(made) for made in retention.decisions if project.owns(made.manifest.source)],
        "warnings": list(retention.warnings),
        "deleted": [manifest.name for manifest in pruned.deleted],
        "freed": pruned.freed,
        "kept": [{"name": outcome.manifest.name, "why": outcome.kept} for outcome in pruned.kept],
        "failed": [{"name": outcome.manifest.name, "error": str(outcome.error)} for outcome in pruned.failed],
        "swept": list(pruned.swept),
    }


def leftover_document(found: Sequence[Leftover], removed: Container[str]) -> list[dict[str, Any]]:
    return [
        {
            "name": leftover.name,
            "keys": [stored.key for stored in leftover.objects],
            "size": leftover.size,
            "spared": leftover.spared,
            "removed": leftover.name in removed,
        }
        for leftover in found
    ]


def _decision(made: Decision) -> dict[str, Any]:
    return {
        "name": made.manifest.name,
        "source": made.manifest.source.model_dump(),
        "started_at": made.manifest.started_at.isoformat(),
        "size": made.manifest.archive.size,
        "keep": made.keep,
        "reasons": list(made.reasons),
    }
