"""What backup_prune does with the scratches of restores that died."""

from __future__ import annotations

from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.restore.kept_data import NotAsked, Scratch, find_scratches, sweep_scratches


def swept() -> list[str | NotAsked]:
    """What is found is removed, and nothing else."""
    found = [one for one in find_scratches(current_project()) if isinstance(one, Scratch)]
    gone = list(sweep_scratches(current_project(), found))
    assert gone == [scratch.name for scratch in found]
    return gone
