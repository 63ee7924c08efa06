"""Removing the staging databases of dead restores, as backup_prune does."""

from __future__ import annotations

from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.restore.kept_data import (
    AbandonedStaging,
    Unreachable,
    find_abandoned_staging,
    sweep_abandoned_staging,
)


def swept() -> list[str | Unreachable]:
    """Assert that exactly the listed staging databases are removed; return them."""
    found = [one for one in find_abandoned_staging(current_project()) if isinstance(one, AbandonedStaging)]
    gone = list(sweep_abandoned_staging(current_project(), found))
    assert gone == [scratch.name for scratch in found]
    return gone
