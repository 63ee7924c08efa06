"""Whose the damaged pairs are: what was a backup, and is none any more."""

from __future__ import annotations

from collections.abc import Sequence

from django_cfg.backup.services.catalog.catalog import Catalog, Damaged
from django_cfg.backup.services.catalog.naming import pattern
from django_cfg.backup.services.project.project import Project


def damaged_of(project: Project, catalog: Catalog, alias: str) -> list[Damaged]:
    """The damaged pairs of one source: as their manifest says, and as they are named where that cannot be read."""
    named = pattern(project.config.filename_template, env=project.env, database=alias)
    return [
        damaged
        for damaged in catalog.damaged
        if (
            damaged.manifest.source == project.source(alias)
            if damaged.manifest
            else named.fullmatch(damaged.name) is not None
        )
    ]


def damage(found: Sequence[Damaged]) -> str:
    """What to say of them; empty when there are none."""
    told = " ".join(str(damaged.error) for damaged in found[:5])
    return told + (f" And {len(found) - 5} more are damaged." if len(found) > 5 else "")
