"""What backup_prune does with the scratches of restores that died."""

from __future__ import annotations

from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.restore.kept_data import (
    AbandonedStaging,
    Unreachable,
    find_abandoned_staging,
    sweep_abandoned_staging,
)


def swept() -> list[str | Unreachable]:
    """What is found is removed, and nothing else."""
    found = [one for one in find_abandoned_staging(current_project()) if isinstance(one, AbandonedStaging)]
    gone = list(sweep_abandoned_staging(current_project(), found))
    assert gone == [scratch.name for scratch in found]
    return gone
