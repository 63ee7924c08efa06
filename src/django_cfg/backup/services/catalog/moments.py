"""Moments that a person names: a date and a time in the project's TIME_ZONE, unless they say another offset."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo

from django_cfg.backup.errors import BackupNotFound, UsageError
from django_cfg.backup.formatting import format_time
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.catalog.catalog import Catalog, latest_backup, require_known_database
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.project.subject import note_subject

_EXAMPLE = "2026-11-20 03:00"
_FIRST_YEAR, _LAST_YEAR = 1970, 9998  # which have a local time in each zone


def parse_moment(text: str, zone: tzinfo) -> datetime:
    """Return the moment that *text* names, a date and a time: in *zone* unless it has an offset.

    :raises UsageError: it names none, or not one alone.
    """
    try:
        date.fromisoformat(text.strip())
    except ValueError:
        return in_zone(_parse(text), zone)
    raise UsageError(f"{text.strip()} is a day: give the time, too, as in {_EXAMPLE!r}.")


def parse_bound(text: str, zone: tzinfo, *, is_end: bool = False) -> datetime:
    """Like :func:`parse_moment`; of a date alone the first moment of that day, or its last one if *is_end*."""
    try:
        day = date.fromisoformat(text.strip())
    except ValueError:
        return in_zone(_parse(text), zone)
    if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
        raise UsageError(f"{text!r} is out of range.")
    if not is_end:
        return _start_of(day, zone)
    return _start_of(day + timedelta(days=1), zone) - timedelta(microseconds=1)


def in_zone(moment: datetime, zone: tzinfo) -> datetime:
    """Return *moment* in UTC; one without an offset is local time in *zone*.

    :raises UsageError: there is no such local time, or it occurs twice: where clocks are changed.
    """
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise UsageError(f"The year {moment.year} is out of range.")
    if moment.tzinfo is not None:
        return moment.astimezone(UTC)
    readings = {moment.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    if len(readings) == 1:
        return readings.pop()
    offsets = " or ".join(f"{reading.astimezone(zone):%z}" for reading in sorted(readings))
    is_real = all(reading.astimezone(zone).replace(tzinfo=None) == moment for reading in readings)
    what = "occurs twice" if is_real else "does not exist"
    raise UsageError(
        f"{moment:%Y-%m-%d %H:%M} {what} in {zone}, where the clocks are changed: add the offset ({offsets})."
    )


def is_within(manifest: Manifest, since: datetime | None, until: datetime | None) -> bool:
    """Return True if the backup was begun between these moments, both included; None: no bound."""
    return (since is None or since <= manifest.started_at) and (until is None or not _is_after(manifest, until))


def require_order(since: datetime | None, until: datetime | None) -> None:
    """
    :raises UsageError: the period ends before it begins.
    """
    if since and until and until < since:
        raise UsageError("The period ends before it begins: exchange since and until.")


def find_backup_at(catalog: Catalog, project: Project, at: datetime, database: str | None = None) -> Manifest:
    """Return the newest backup of one database that was begun not later than *at*.

    As ``latest``, it means a backup that was made before a restore only where there is no other.

    :raises UsageError: *at* is in the future, or there are several databases.
    :raises BackupNotFound: all backups are younger; or there is none.
    """
    require_known_database(project, catalog, database)
    at = in_zone(at, project.zone)
    if at > clock.now():
        raise UsageError(f"{format_time(at, project.zone)} is in the future: the newest backup is called `latest`.")
    newest = latest_backup(catalog, project, database)
    series = [manifest for manifest in catalog.of(project) if manifest.source == newest.source]
    old_enough = [manifest for manifest in series if not _is_after(manifest, at)]
    if not old_enough:
        oldest = series[-1]
        raise BackupNotFound(
            f"There is no backup of {newest.source} from {format_time(at, project.zone)} or before in "
            f"{catalog.location}: the oldest one is {oldest.name}, of {format_time(oldest.started_at, project.zone)}."
        )
    regular = [manifest for manifest in old_enough if manifest.trigger != "before-restore"]
    found = (regular or old_enough)[0]
    note_subject(database=found.source.database, backup=found.name)
    return found


def _is_after(manifest: Manifest, moment: datetime) -> bool:
    """Whether the backup was begun later than *moment*, of which a full second means all of it.

    Lists and messages show seconds: what they show has to find its backup.
    """
    started_at = manifest.started_at
    return (started_at if moment.microsecond else started_at.replace(microsecond=0)) > moment


def _parse(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"{text!r} is no date and time: write it as in {_EXAMPLE!r}, or '{_EXAMPLE}+01:00'.") from None


def _start_of(day: date, zone: tzinfo) -> datetime:
    """The first moment of *day*; where the clocks are changed at midnight, the earlier of two."""
    return datetime.combine(day, time(), zone).astimezone(UTC)
