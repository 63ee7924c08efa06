"""When an archive was made: as the caller says, else by its name, else by its age."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Literal

from django_cfg.backup.errors import UsageError
from django_cfg.backup.formatting import printable
from django_cfg.backup.policy.retention import CLOCK_TOLERANCE
from django_cfg.backup.services.adoption.origin import Origin
from django_cfg.backup.services.project import clock

_FIRST_YEAR = 1990  # no database of this kind is older: a clock that was not set says 1970


@dataclass(frozen=True)
class TakenAt:
    """A time, and what says so."""

    at: datetime
    known_from: Literal["option", "name", "file"]


def find_time(origin: Origin, given: str | None, zone: tzinfo) -> TakenAt:
    """Return when *origin* was made.

    :param given: ISO 8601, in *zone* unless it has an offset; None: the name or the age of *origin* says.
    :raises UsageError: *given* is no time, or the time is in the future.
    """
    if given is not None:
        return TakenAt(_require_past(_parse(given, zone), "--taken-at"), "option")
    if named := origin.time_in_name(zone):
        return TakenAt(_require_past(named.astimezone(UTC), f"The name {origin.name}"), "name")
    return TakenAt(_require_past(origin.modified, f"The age of {origin.name}"), "file")


def _parse(text: str, zone: tzinfo) -> datetime:
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"--taken-at is {printable(text)!r}, and has to be a time in ISO 8601, as 2026-01-31T02:00:00 (in "
            "TIME_ZONE) or 2026-01-31T02:00:00+01:00."
        ) from None


def _require_past(at: datetime, says: str) -> datetime:
    if at.year < _FIRST_YEAR or at > clock.now() + CLOCK_TOLERANCE:
        when = "in the future" if at.year >= _FIRST_YEAR else "before the time of any such archive"
        raise UsageError(
            f"{says} says {at:%Y-%m-%d %H:%M:%S} UTC, which is {when}: say when the archive was made with --taken-at. "
            "Nothing was stored."
        )
    return at
