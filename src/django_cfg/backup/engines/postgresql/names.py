"""Names of databases that a restore makes: whose they are and what for can be read from them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Literal

_LIMIT = 63  # bytes of an identifier
_STAMP = "%Y%m%dt%H%M%Sz"
_ROOM = len("__restoring_20250115t013000z_99")

Purpose = Literal["restoring", "before"]  # a scratch; the old data


def stem(target: str) -> str:
    """What the names made for *target* begin with: its own name, cut where it would not fit."""
    room = _LIMIT - _ROOM
    encoded = target.encode()
    if len(encoded) <= room:
        return target
    mark = hashlib.sha256(encoded).hexdigest()[:6]
    return f"{encoded[: room - 7].decode(errors='ignore')}_{mark}"


def free(target: str, purpose: Purpose, taken: Collection[str]) -> str:
    """A name for *purpose* that is not among *taken*."""
    wanted = f"{stem(target)}__{purpose}_{datetime.now(UTC).strftime(_STAMP)}"
    number, name = 1, wanted
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name


def made_at(name: str, target: str, purpose: Purpose) -> datetime | None:
    """When *name* was made for *purpose* by a restore of *target*; None when it was not."""
    found = re.fullmatch(rf"{re.escape(stem(target))}__{purpose}_(\d{{8}}t\d{{6}}z)(_\d+)?", name)
    try:
        return datetime.strptime(found[1], _STAMP).replace(tzinfo=UTC) if found else None
    except ValueError:  # somebody else's digits
        return None
