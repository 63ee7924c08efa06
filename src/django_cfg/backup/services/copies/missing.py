"""Which backups are missing in which place: those that the retention of the place would keep if it had them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from django_cfg.backup.errors import ClockSkew
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.catalog.catalog import Catalog, CopyKind
from django_cfg.backup.services.project.places import Place
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.retention.prune import decide_retention, list_distrusted

_log = logging.getLogger("django_cfg.backup")


def find_missing(project: Project, catalog: Catalog) -> dict[Place, list[Manifest]]:
    """Return by place what is missing there; without those where nothing is, or that cannot be read.

    :param catalog: of all places.
    """
    found: dict[Place, list[Manifest]] = {}
    for place in project.places:
        try:
            if missing := missing_in(project, place, catalog):
                found[place] = missing
        except ClockSkew as error:
            _log.warning("What is missing in %s is not known: %s", place, error)
    return found


def missing_in(project: Project, place: Place, catalog: Catalog) -> list[Manifest]:
    """Return the backups of this project and environment that *place* should have and has not, newest first.

    What its retention has deleted is not missing. A backup that retention does not trust is copied nowhere.

    :param catalog: of all places.
    :raises ClockSkew: a backup is dated in the future, so that retention decides nothing.
    """
    if place.name not in catalog.by_place:
        return []
    distrusted = list_distrusted(catalog)
    absent = [
        manifest
        for manifest in catalog.of(project)
        if state_in(place, manifest, catalog) == "missing" and manifest.name not in distrusted
    ]
    if not absent or not place.retention.enabled:
        return absent
    kept = {manifest.name for manifest in decide_retention(project, catalog, place).kept}
    return [manifest for manifest in absent if manifest.name in kept]


def find_missing_proofs(project: Project, catalog: Catalog) -> dict[Place, list[str]]:
    """Return by place the keys of proofs that were written while it was away: the last one of each backup in it.

    :param catalog: of all places.
    """
    found: dict[Place, list[str]] = {}
    for place in project.places:
        in_place = catalog.by_place.get(place.name)
        for manifest in in_place.of(project) if in_place else ():
            last = catalog.proof_keys.get(manifest.name, ())[-1:]
            if in_place and last and last[0] not in in_place.proof_keys.get(manifest.name, ()):
                found.setdefault(place, []).append(last[0])
    return found


def state_in(place: Place, manifest: Manifest, catalog: Catalog) -> CopyKind:
    """Return how *manifest* is in *place*."""
    states: Sequence[CopyKind] = [each.state for each in catalog.copies[manifest.name] if each.name == place.name]
    return states[0]
