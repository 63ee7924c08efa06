"""Columns that have another type in the database than in the backup: does every value stay the same?

COPY rounds a number to the scale of the column, and a time to its precision; it cuts or pads spaces. Where the server
refuses a value instead, it is left to the server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from django_cfg.backup.engines.postgresql.sequence_positions import NAME, TABLE, Column, split_name

# The type ends before what may follow it; a computed column has no value in the backup.
_COLUMN = re.compile(
    rf"^    ({NAME}) (.+?)(?: (?:COLLATE|CONSTRAINT|DEFAULT|GENERATED|NOT NULL)\b(.*?))?,?$", re.MULTILINE
)
_LIMITED = re.compile(r"([a-z ]+?)(?:\((\d+)(?:,(-?\d+))?\))?( with(?:out)? time zone)?")
_INTEGERS = {"smallint", "integer", "bigint"}
_TEXTS = {"character varying", "text"}
_FINEST = 6  # digits of a second


class _Type(NamedTuple):
    name: str
    limit: int | None = None  # of a text's length, of a time's precision
    scale: int | None = None


def find_types(script: str) -> dict[Column, str]:
    """Return the type of each column of an archive.

    :param script: what pg_restore makes of an archive's tables.
    """
    types: dict[Column, str] = {}
    for table, columns in TABLE.findall(script):
        for column, text, more in _COLUMN.findall(columns):
            if not more.startswith(" ALWAYS AS ("):
                types.setdefault((*split_name(table), *split_name(column)), text)
    return types


def find_changed(stored: Mapping[Column, str], existing: Mapping[Column, str]) -> list[str]:
    """Describe the columns that may change a value of the backup in silence."""
    return [
        f"{'.'.join(column[1:])} ({stored[column]}, here {text})"
        for column, text in existing.items()
        if column in stored and not _preserves(_parse(text), _parse(stored[column]))
    ]


def _preserves(new: _Type, old: _Type) -> bool:
    """Return True if each value of *old* either stays the same in *new*, or is refused."""
    if new == old or {new.name, old.name} <= _INTEGERS:
        return True
    if {new.name, old.name} <= _TEXTS:
        return new.limit is None or (old.limit is not None and new.limit >= old.limit)
    if new.name == "numeric":
        known = old.name == "numeric" and old.limit is not None and (new.scale or 0) >= (old.scale or 0)
        return (new.limit is None and old.name in {"numeric", *_INTEGERS}) or known
    is_time = new.name == old.name and new.name.startswith("time")
    return is_time and _get_precision(new) >= _get_precision(old)


def _get_precision(time: _Type) -> int:
    return _FINEST if time.limit is None else time.limit


def _parse(text: str) -> _Type:
    found = _LIMITED.fullmatch(text)
    if not found:
        return _Type(text)  # of a schema, or an array
    name, limit, scale, zone = found.groups()
    return _Type(name + (zone or ""), *(int(number) if number else None for number in (limit, scale)))
