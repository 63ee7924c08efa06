"""Old data set aside: kept under a name that is told, never destroyed."""

from __future__ import annotations

import glob
import re
from datetime import datetime
from pathlib import Path

from django_cfg.backup.engines.base import KeptObject
from django_cfg.backup.engines.sqlite.connection import COMPANIONS

_STAMP = "%Y%m%d_%H%M%S"  # of this machine's clock


def free_name(target: Path, moment: datetime) -> Path:
    """Where the old data of *target*, set aside at that *moment*, will be found."""
    stamp = moment.astimezone().strftime(_STAMP)
    wanted = target.with_name(f"{target.name}.before-restore-{stamp}")
    number = 1
    name = wanted
    while name.exists():
        number += 1
        name = wanted.with_name(f"{wanted.name}-{number}")
    return name


def found(target: Path) -> list[KeptObject]:
    """The old data of *target* that restores have kept, newest first."""
    kept = [
        KeptObject(str(path), _size(path), made_at)
        for path in target.parent.glob(f"{glob.escape(target.name)}.before-restore-*")
        if (made_at := _made_at(path, target))
    ]
    return sorted(kept, key=lambda aside: aside.made_at, reverse=True)


def _size(path: Path) -> int:
    files = [path, *(Path(f"{path}{suffix}") for suffix in COMPANIONS)]
    return sum(file.stat().st_size for file in files if file.exists())


def _made_at(path: Path, target: Path) -> datetime | None:
    """When a restore made it; None for what is not its work, and for the journals that go with it."""
    name = re.fullmatch(rf"{re.escape(target.name)}\.before-restore-(\d{{8}}_\d{{6}})(-\d+)?", path.name)
    try:
        return datetime.strptime(name[1], _STAMP).astimezone() if name else None
    except ValueError:  # somebody else's digits
        return None
