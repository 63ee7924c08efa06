"""The backups of all places together: each is intact, missing or damaged in each of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar

from django_cfg.backup.errors import (
    BackupError,
    BackupNotFound,
    ConfigurationError,
    ManifestError,
    StorageError,
    VerificationFailed,
)
from django_cfg.backup.manifest import Manifest, Proof, Signature, Source
from django_cfg.backup.process.threads import InThread
from django_cfg.backup.services.catalog.catalog import (
    Catalog,
    CopyKind,
    CopyState,
    Damaged,
    Reader,
    find_intact,
    read_catalog,
    require_known_database,
)
from django_cfg.backup.services.catalog.moments import in_zone, is_within, require_order
from django_cfg.backup.services.project.places import Place
from django_cfg.backup.services.project.progress import Progress
from django_cfg.backup.services.project.project import Project, current_project
from django_cfg.backup.services.project.subject import public
from django_cfg.backup.storage.base import Storage, StoredObject

_FOR_EVER = 86_400.0  # seconds
T = TypeVar("T")


class LazyCatalog:
    """The storage's backups, read when they are first asked for: most ticks need not look."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._catalog: Catalog | None = None

    def read(self) -> Catalog:
        if self._catalog is None:
            self._catalog = read_places(self._project)
        return self._catalog

    def of(self, source: Source) -> list[Manifest]:
        """Newest first."""
        return [manifest for manifest in self.read().backups if manifest.source == source]


@public
def list_backups(
    *,
    database: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    every_source: bool = False,
) -> list[Manifest]:
    """Return the intact backups of this project and environment, newest first.

    A place that cannot be read hides only the backups that are in no other place: :func:`backup_status` reports it, and
    damaged backups too.

    :param database: only backups of this alias; None: of all.
    :param since: only backups that were begun at this moment or later; without a time zone it is in ``TIME_ZONE``.
    :param until: only backups that were begun at this moment or earlier; a full second means all of it.
    :param every_source: also those of other projects and environments in the same storage.
    :raises UsageError: there is no such database, or the period ends before it begins.
    :raises StorageError: the storage cannot be read.
    """
    project = current_project()
    catalog = read_places(project)
    require_known_database(project, catalog, database)
    since, until = (in_zone(moment, project.zone) if moment else None for moment in (since, until))
    require_order(since, until)
    chosen = list(catalog.backups) if every_source else catalog.of(project)
    return [m for m in chosen if database in (None, m.source.database) and is_within(m, since, until)]


def read_places(
    project: Project,
    only: str | None = None,
    reader: Callable[[Storage], Reader] | None = None,
    patience: float | None = None,
) -> Catalog:
    """Read every manifest of every place. A place that is away does not hide the others.

    :param only: the name of the one place to read.
    :param reader: makes what reads the objects that were listed; None: the storage itself.
    :param patience: seconds after which one of several places counts as away; None: as its storage waits.
    :raises UsageError: there is no place of this name.
    :raises StorageError: no place can be read.
    """
    places = [project.place(only)] if only else list(project.places)

    def read(place: Place) -> Catalog:
        return read_catalog(place.storage, project.signing_keys, reader(place.storage) if reader else None)

    if len(places) == 1:
        return read(places[0])
    found: dict[str, Catalog] = {}
    away: dict[str, BackupError] = {}
    deadline = time.monotonic() + (patience or _FOR_EVER)
    for place, answer in [(place, InThread(partial(read, place), "backup-place")) for place in places]:
        try:
            catalog = answer.result(deadline - time.monotonic(), otherwise=None)
        except (StorageError, ConfigurationError) as error:
            away[place.name] = error
            continue
        if catalog is None:
            away[place.name] = StorageError(f"{place.storage.location} has not answered within {patience:.1f} seconds.")
        else:
            found[place.name] = catalog
    if not found:
        raise next(iter(away.values()))
    return _merge([place.name for place in places], found, away)


def places_with(project: Project, catalog: Catalog, manifest: Manifest) -> list[Place]:
    """Return the places that hold *manifest* intact, in the order of the settings.

    :param catalog: of all places, or of one that somebody has chosen.
    :raises BackupNotFound: there is none any more.
    """
    if not catalog.by_place:  # of one place
        found = [place for place in project.places if place.storage.location == catalog.location]
    else:
        intact = {state.name for state in catalog.copies.get(manifest.name, ()) if state.state == "intact"}
        found = [place for place in project.places if place.name in intact]
    if not found:
        raise BackupNotFound(f"{manifest.name} is in none of the places any more: run `backup_list`.")
    return found


def read_first_good(places: Sequence[Place], read: Callable[[Storage], T], progress: Progress) -> tuple[Place, T]:
    """Return what *read* returns for the first of *places* where it succeeds; the others are said.

    :raises BackupError: what it raised for the first one, if it succeeds nowhere.
    """
    failures: list[BackupError] = []
    for number, place in enumerate(places):
        try:
            return place, read(place.storage)
        except (VerificationFailed, StorageError) as error:
            failures.append(error)
            if number + 1 < len(places):
                progress.say(f"The copy in {place} is not used: {error} The one in {places[number + 1]} is tried.")
    raise failures[0]


def find_intact_anywhere(project: Project, name: str) -> Manifest | None:
    """Like :func:`find_intact`, in all places.

    :raises StorageError: it is in none that can be read, and one cannot be.
    """
    failures: list[StorageError] = []
    for place in project.places:
        try:
            if found := find_intact(place.storage, name):
                return found
        except StorageError as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return None


def _merge(names: Sequence[str], found: Mapping[str, Catalog], away: Mapping[str, BackupError]) -> Catalog:
    chosen = _choose_manifests(found)
    copies, broken = _compare_places(names, found, chosen)
    damaged = {each.name: each for catalog in found.values() for each in reversed(catalog.damaged)}
    backups = sorted(
        (manifest for _, manifest in chosen.values()),
        key=lambda manifest: (manifest.started_at, manifest.name),
        reverse=True,
    )
    signatures = {
        name: found[place].signatures[name] for name, (place, _) in chosen.items() if name in found[place].signatures
    }
    proofs = _merge_proofs(found)
    return Catalog(
        location=" and ".join(catalog.location for catalog in found.values()),
        backups=tuple(backups),
        damaged=tuple(each for name, each in sorted(damaged.items()) if name not in chosen),
        pinned=frozenset(name for catalog in found.values() for name in catalog.pinned),
        proofs=proofs.proofs,
        unreadable_proofs=proofs.unreadable_proofs,
        proof_keys=proofs.proof_keys,
        signatures=signatures,
        proof_objects=proofs.proof_objects,
        copies=copies,
        by_place=found,
        away=away,
        damaged_copies=broken,
    )


def _choose_manifests(found: Mapping[str, Catalog]) -> dict[str, tuple[str, Manifest]]:
    """Return by name the place and the manifest that count: of the first place, a well signed one before any other."""
    chosen: dict[str, tuple[str, Manifest]] = {}
    is_good: set[str] = set()
    for place, catalog in found.items():
        for manifest in catalog.backups:
            good = catalog.signatures.get(manifest.name) is Signature.GOOD
            if manifest.name not in chosen or (good and manifest.name not in is_good):
                chosen[manifest.name] = place, manifest
            if good:
                is_good.add(manifest.name)
    return chosen


def _compare_places(
    names: Sequence[str], found: Mapping[str, Catalog], chosen: Mapping[str, tuple[str, Manifest]]
) -> tuple[dict[str, tuple[CopyState, ...]], dict[str, tuple[Damaged, ...]]]:
    states: dict[str, dict[str, CopyKind]] = {name: {} for name in chosen}
    broken: dict[str, list[Damaged]] = {}
    for place, catalog in found.items():
        for manifest in catalog.backups:
            origin, counts = chosen[manifest.name]
            signatures = (found[origin].signatures.get(manifest.name), catalog.signatures.get(manifest.name))
            if manifest == counts and signatures[0] == signatures[1]:
                states[manifest.name][place] = "intact"
            else:
                broken.setdefault(place, []).append(_of_another(manifest, catalog, origin))
        broken.setdefault(place, []).extend(each for each in catalog.damaged if each.name in chosen)
        for each in broken[place]:
            states[each.name][place] = "damaged"
    copies = {
        name: tuple(
            CopyState(name=place, state=of_name.get(place, "missing" if place in found else "unknown"))
            for place in names
        )
        for name, of_name in states.items()
    }
    return copies, {place: tuple(each) for place, each in broken.items() if each}


def _of_another(manifest: Manifest, catalog: Catalog, place: str) -> Damaged:
    error = ManifestError(
        f"The manifest {manifest.key} in {catalog.location} differs from the one in {place}: another backup has this "
        "name there, or one of them or its signature was changed. Find out which is right; `backup_copy "
        "--replace-damaged` puts the one of another place in its stead."
    )
    return Damaged(name=manifest.name, error=error, manifest=manifest)


def _merge_proofs(found: Mapping[str, Catalog]) -> Catalog:
    """Return a catalog that holds the proofs alone: of each backup, the last one in any place counts."""
    keys: dict[str, set[str]] = {}
    objects: dict[str, StoredObject] = {}
    for catalog in found.values():
        for name, of_name in catalog.proof_keys.items():
            keys.setdefault(name, set()).update(of_name)
        objects = {**catalog.proof_objects, **objects}  # the first place counts
    proofs: dict[str, Proof] = {}
    unreadable: set[str] = set()
    for name, last in ((name, max(of_name)) for name, of_name in keys.items()):
        with_last = [catalog for catalog in found.values() if last in catalog.proof_keys.get(name, ())]
        readable = [catalog.proofs[name] for catalog in with_last if name in catalog.proofs]
        if readable:
            proofs[name] = readable[0]
        else:
            unreadable.add(name)
    return Catalog(
        "",
        (),
        (),
        proofs=proofs,
        unreadable_proofs=frozenset(unreadable),
        proof_keys={name: tuple(sorted(known)) for name, known in keys.items()},
        proof_objects=objects,
    )
