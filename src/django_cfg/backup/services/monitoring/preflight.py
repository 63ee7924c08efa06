"""Checking all that a backup needs before it is made: by writing and connecting, in under half a minute."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial

from django_cfg.backup.engines import engine_class
from django_cfg.backup.engines.base import Finding, Level
from django_cfg.backup.errors import BackupError, VerificationFailed
from django_cfg.backup.formatting import counted, megabytes
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.policy.retention import CLOCK_TOLERANCE, is_from_the_future
from django_cfg.backup.process.threads import InThread
from django_cfg.backup.services.catalog.catalog import Catalog, read_catalog
from django_cfg.backup.services.creation.create import require_ready, selection_of
from django_cfg.backup.services.monitoring.notifications import check_notifications
from django_cfg.backup.services.monitoring.preflight_encryption import check_encryption
from django_cfg.backup.services.monitoring.preflight_immutability import check_immutability
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.connections import closing_connections
from django_cfg.backup.services.project.places import Place
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.project.storage_advice import place_advice
from django_cfg.backup.services.retention.leftovers import new_probe_key
from django_cfg.backup.services.verification.proofs import can_be_drilled
from django_cfg.backup.storage.base import Storage, StoredObject

DEADLINE = 25.0  # seconds for all parts together, which are checked in parallel
Check = Callable[[], Iterator[Finding]]
_PROBE = b"written by backup_check, and deleted by it\n"


def run_preflight(project: Project, more: Mapping[str, Check] | None = None) -> Iterator[Finding]:
    """What was found of each part, within ``DEADLINE``; one that fails or is silent does not hold up the rest.

    :param more: further parts, by their subject.
    """
    ends = time.monotonic() + DEADLINE
    parts = [
        _Check("settings", lambda: _check_settings(project)),
        _Check("encryption", lambda: check_encryption(project.config)),
        *(_Check(_subject(project, place), partial(_check_storage, project, place)) for place in project.places),
        _Check("notify", lambda: check_notifications(project)),
        *(_Check(subject, check) for subject, check in (more or {}).items()),
        *(_Check(alias, partial(_check_database, project, alias)) for alias in project.aliases()),
    ]
    for part in parts:
        yield from part.findings(ends)


class _Check:
    """One part, checked in a thread: one that never ends delays neither the others nor the end of the process."""

    def __init__(self, subject: str, check: Check) -> None:
        self._subject, self._check = subject, check
        self._findings: list[Finding] = []
        self._run = InThread(closing_connections(self._collect), f"backup-check-{subject}")

    def findings(self, ends: float) -> Iterator[Finding]:
        """Yield what was found until *ends*, as ``time.monotonic`` counts."""
        has_ended = self._run.wait(ends - time.monotonic())
        yield from list(self._findings)
        if has_ended:
            self._run.result(0, None)  # raises what nothing foresaw
            return
        silent = f"there was no answer within {DEADLINE:.0f} s: see whether the address is right and reachable"
        yield Finding(Level.FAILED, self._subject, silent)

    def _collect(self) -> None:
        try:
            self._findings.extend(self._check())
        except BackupError as error:
            self._findings.append(Finding(Level.FAILED, self._subject, str(error)))


def _check_settings(project: Project) -> Iterator[Finding]:
    require_ready(project)
    yield Finding(Level.OK, "settings", f"{project.name}/{project.env}, {counted(len(project.aliases()), 'database')}")


def _check_database(project: Project, alias: str) -> Iterator[Finding]:
    return project.engine(alias).check_health(selection_of(project, alias))


def _subject(project: Project, place: Place) -> str:
    return "storage" if len(project.places) == 1 else place.name


def _check_storage(project: Project, place: Place) -> Iterator[Finding]:
    storage, subject = place.storage, _subject(project, place)
    probe = _round_trip(storage, [other for other in project.places if other is not place])
    yield Finding(Level.OK, subject, f"{storage.location} takes, lists, gives back and deletes")
    catalog = read_catalog(storage)
    for unwise in place_advice(project, place):
        yield Finding(Level.WARNING, subject, f"{unwise.text} {unwise.hint}")
    yield from _check_clock(probe, catalog)
    yield from _check_space(storage, catalog, project)
    yield from check_immutability(project)
    for damaged in catalog.damaged:
        yield Finding(Level.WARNING, subject, str(damaged.error))
    if place is not project.places[0]:
        return
    yield from _check_newest_backups(catalog, project)
    yield from _recommend_drills(catalog, project)


def _check_newest_backups(catalog: Catalog, project: Project) -> Iterator[Finding]:
    """Whether the server of each database would take back its newest backup; one that is away has a line of its own."""
    for alias in project.aliases():
        backups = _backups_of(catalog, project, alias)
        with suppress(BackupError):
            engine = project.engine(alias)
            if backups and isinstance(engine, engine_class(backups[0].engine.vendor, of=backups[0].name)):
                yield from engine.check_restorable(backups[0])


def _backups_of(catalog: Catalog, project: Project, alias: str) -> list[Manifest]:
    return [manifest for manifest in catalog.of(project) if manifest.source.database == alias]


def _recommend_drills(catalog: Catalog, project: Project) -> Iterator[Finding]:
    """Only a restore shows whether the server takes back all that it has: no other check finds such objects."""
    for alias in project.aliases():
        backups = _backups_of(catalog, project, alias)
        if backups and can_be_drilled(backups[0]) and not any(backup.name in catalog.proofs for backup in backups):
            text = f"no stored backup of {alias!r} was ever restored: backup_verify latest --drill --database {alias}"
            yield Finding(Level.OK, "drill", f"{text} shows whether it can be")


def _round_trip(storage: Storage, others: Sequence[Place]) -> StoredObject:
    """Write, look at, read, list and delete an object of our own.

    :param others: the places that must not have it: one place under two names keeps one copy.
    """
    key = new_probe_key()
    storage.write(key, _PROBE)
    try:
        found, content = storage.stat(key), storage.read(key)
        is_listed = any(listed.key == key for listed in storage.list())
        same = [other for other in others if _has(other, key)]
    finally:
        storage.delete(key)
    if found is None or content != _PROBE:
        raise VerificationFailed(f"{storage.location} did not give back what was written there. Do not rely on it.")
    if same:
        raise VerificationFailed(
            f"{storage.location} and {same[0]} are the same place under two names: what is written to one is in the "
            "other. A copy there is none, and its retention deletes the backups of both. Give each a place of its own."
        )
    if not is_listed:
        raise VerificationFailed(
            f"{storage.location} does not list what was written there, so no backup in it would be found. See that its "
            "address is right (on S3 s3_endpoint_url and s3_addressing), and what else serves it."
        )
    return found


def _has(place: Place, key: str) -> bool:
    with suppress(BackupError):  # it has a line of its own
        return place.storage.stat(key) is not None
    return False


def _check_clock(probe: StoredObject, catalog: Catalog) -> Iterator[Finding]:
    now = clock.now()
    if (skew := abs(now - probe.modified)) > CLOCK_TOLERANCE:
        yield Finding(
            Level.WARNING,
            "clock",
            f"the storage's clock and this machine's differ by {skew.total_seconds():,.0f} s: set the clock (NTP)",
        )
        return
    future = [manifest.name for manifest in catalog.backups if is_from_the_future(manifest, now)]
    if future:
        yield Finding(
            Level.WARNING, "clock", f"{future[0]} is dated in the future: set the clock of this machine (NTP)"
        )
        return
    yield Finding(Level.OK, "clock", "agrees with the storage's")


def _check_space(storage: Storage, catalog: Catalog, project: Project) -> Iterator[Finding]:
    """Room for one more backup of each source, as large as its newest."""
    free = storage.free_space()
    if free is None:
        return
    newest: dict[str, int] = {}
    for manifest in catalog.of(project):
        newest.setdefault(manifest.source.database, manifest.size)
    needed = sum(newest.values())
    level = Level.WARNING if free < needed else Level.OK
    yield Finding(level, "space", f"{megabytes(free)} free, the newest backups take {megabytes(needed)}")
