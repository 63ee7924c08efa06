"""Leftovers: archives, proofs and pins whose manifest is gone or never came, and probes. They are no backups.

Nothing removes them automatically: without the manifest it is not certain whose they are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import uuid4

from django_cfg.backup.manifest import PIN_SUFFIX, SUFFIX, proved_name
from django_cfg.backup.records import Record
from django_cfg.backup.services.catalog.catalog import Catalog, is_manifest
from django_cfg.backup.services.catalog.naming import ARCHIVE_KEY, name_pattern
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.places import Place
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.storage.base import StoredObject

YOUNG = timedelta(hours=24)  # its manifest may be on its way
_PROBE = re.compile(r"(?P<name>backup-check-[0-9a-f]{32})\.probe")


@dataclass(frozen=True)
class Leftover:
    """What is left of one name."""

    place: Place
    name: str
    objects: tuple[StoredObject, ...]
    spared: str  # why it is not removed; empty when it may be

    @property
    def size(self) -> int:
        return sum(found.size for found in self.objects)

    @property
    def modified(self) -> datetime:
        return max(found.modified for found in self.objects)

    def report(self, *, removed: bool) -> LeftoverReport:
        """Return what ``backup_prune --leftovers --json`` prints of it."""
        keys = tuple(stored.key for stored in self.objects)
        return LeftoverReport(
            place=self.place.name, name=self.name, keys=keys, size=self.size, spared=self.spared, removed=removed
        )


class LeftoverReport(Record):
    """What became of the leftovers of one name in one place."""

    place: str
    name: str
    keys: tuple[str, ...]
    size: int  # bytes
    spared: str  # why they are not removed; empty when they may be
    removed: bool


def new_probe_key() -> str:
    """The key of an object that is written to be read and deleted at once; it stays where that was interrupted."""
    return f"backup-check-{uuid4().hex}.probe"


def find_leftovers(project: Project, place: Place, catalog: Catalog, named: Collection[str] = ()) -> list[Leftover]:
    """All in *place*, by name; those that may be removed have no reason to be spared.

    :param catalog: of the place.
    :param named: the names that somebody vouches for: that they are this project's.
    """
    strangers = _strangers(project, catalog)
    objects = {found.key: found for found in place.storage.list()}
    archives = {manifest.key: manifest.archive_keys for manifest in catalog.backups}
    by_name: dict[str, list[StoredObject]] = {}
    for key, found in sorted(objects.items()):
        name = _name_of(key)
        if lost := _name_of_a_second_archive(key, archives):
            by_name.setdefault(lost, []).append(found)
        elif name and not _has_manifest(key, objects):
            by_name.setdefault(name, []).append(found)
    return [
        _leftover(project, Leftover(place, name, tuple(found), ""), "" if name in named else strangers)
        for name, found in by_name.items()
    ]


def _strangers(project: Project, catalog: Catalog) -> str:
    """Say why a name alone does not identify an archive's project; empty if no other project has such names here.

    Names hold no project. Where the template holds the environment, another one of this project has other names.
    """
    ours = name_pattern(project.config.filename_template, env=project.env)
    others = {
        f"{manifest.source.project}/{manifest.source.env}"
        for manifest in (*catalog.backups, *(damaged.manifest for damaged in catalog.damaged if damaged.manifest))
        if not project.owns(manifest.source)
        and (manifest.source.project != project.name or ours.fullmatch(manifest.name))
    }
    if not others:
        return ""
    return (
        f"it may be of {', '.join(sorted(others))}, whose backups are in {catalog.location} too: if it is yours, "
        "name it after --leftovers"
    )


def remove_leftover(leftover: Leftover) -> bool:
    """Remove what is left of one name; False, and nothing removed, if its manifest has arrived in the meantime.

    :raises StorageError: some of it could not be removed.
    """
    storage = leftover.place.storage
    if storage.stat(f"{leftover.name}{SUFFIX}"):
        return False
    for found in leftover.objects:
        storage.delete(found.key)
    return True


def _leftover(project: Project, unchecked: Leftover, strangers: str) -> Leftover:
    return replace(unchecked, spared=next(_reasons_to_spare(project, unchecked, strangers), ""))


def _reasons_to_spare(project: Project, leftover: Leftover, strangers: str) -> Iterator[str]:
    keys = {found.key for found in leftover.objects}
    is_probe = any(_PROBE.fullmatch(key) for key in keys)
    if not is_probe and not name_pattern(project.config.filename_template, env=project.env).fullmatch(leftover.name):
        yield "not named as the backups of this project and environment are"
    if strangers and not is_probe:
        yield strangers
    if leftover.modified > clock.now() - YOUNG:
        yield "younger than 24 hours: its backup may be on its way"
    if f"{leftover.name}{PIN_SUFFIX}" in keys and len(keys) > 1:
        yield "pinned; docs/restore-by-hand.md says how to open it"


def _name_of(key: str) -> str:
    """The name of the backup that the object belongs to; empty for a manifest and for what is not ours."""
    if name := proved_name(key):
        return name
    if key.endswith(PIN_SUFFIX):
        return key.removesuffix(PIN_SUFFIX)
    if is_manifest(key):
        return ""
    match = _PROBE.fullmatch(key) or ARCHIVE_KEY.fullmatch(key)
    return match["name"] if match else ""


def _name_of_a_second_archive(key: str, archives: Mapping[str, Sequence[str]]) -> str:
    """Return a name for what a run left that lost its name to another in the same second; empty if *key* is no such.

    :param archives: of the intact backups, by the key of their manifest.
    """
    match = ARCHIVE_KEY.fullmatch(key)
    if not match or not match["infix"] or key in archives.get(f"{match['name']}{SUFFIX}", (key,)):
        return ""
    return match["name"] + match["infix"]


def _has_manifest(key: str, objects: Mapping[str, StoredObject]) -> bool:
    """Whether any manifest may claim the object, a damaged one too: an archive's key begins with the name and a dot."""
    folder, slash, file = key.rpartition("/")
    parts = file.split(".")
    beginnings = (".".join(parts[:count]) for count in range(1, len(parts)))
    claimants = (f"{folder}{slash}{beginning}{SUFFIX}" for beginning in beginnings)
    return any(claimant in objects and claimant != key for claimant in claimants)
