"""Copying a backup from one place to another: byte for byte, compared with its manifest on the way."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from django_cfg.backup import signals
from django_cfg.backup.errors import (
    AllFailed,
    AlreadyRunning,
    BackupError,
    NameTaken,
    SomeFailed,
    StorageError,
    UsageError,
    VerificationFailed,
)
from django_cfg.backup.manifest import PIN_SUFFIX, Manifest
from django_cfg.backup.pipeline.archive import check_stored, copy_stored
from django_cfg.backup.process.deferred_signals import defer_signals
from django_cfg.backup.records import ErrorText, Record
from django_cfg.backup.services.catalog.archives import check_archives
from django_cfg.backup.services.catalog.catalog import Catalog
from django_cfg.backup.services.catalog.places import places_with, read_first_good, read_places
from django_cfg.backup.services.copies.missing import find_missing, find_missing_proofs, state_in
from django_cfg.backup.services.project.places import Place
from django_cfg.backup.services.project.progress import SILENT, Progress, byte_progress
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.retention.delete import delete_backup
from django_cfg.backup.services.runs.file_lock import copy_lock
from django_cfg.backup.storage.base import Storage

_log = logging.getLogger("django_cfg.backup")


class CopyOutcome(Record):
    """What became of one copy."""

    name: str  # of the backup
    place: str  # that it was missing in
    source: str = ""  # the place that it came from; empty: it did not succeed
    error: ErrorText | None = None


def copy_missing(project: Project, progress: Progress = SILENT, catalog: Catalog | None = None) -> list[CopyOutcome]:
    """Make up for what is missing in any place, the newest backups first.

    Several processes may do so; what one of them has copied the others find there.

    :param catalog: of all places, as it was a moment ago.
    :returns: also what failed, for which ``copy_failed`` has been sent.
    """
    catalog = catalog or read_places(project)
    outcomes = []
    for place, missing in find_missing(project, catalog).items():
        try:
            outcomes += _copy_all(project, place, missing, catalog, progress)
        except AlreadyRunning as error:
            _log.info("%s", error)
    for place, keys in find_missing_proofs(project, catalog).items():
        _copy_proofs(project, place, keys)
    return outcomes


def send_complete(project: Project, catalog: Catalog) -> None:
    """Send of each place that nothing is missing there, if that is so; what had failed before is over then.

    :param catalog: of all places, as it is now.
    """
    missing = find_missing(project, catalog)
    for place in project.places:
        if place.name in catalog.by_place and place not in missing:
            signals.send(signals.copies_complete, place=place.name)


def _copy_proofs(project: Project, place: Place, keys: Iterable[str]) -> None:
    """Copy proofs to *place* from where they are. One that cannot be copied is tried again with the next tick."""
    for key in keys:
        for source in project.places:
            if source is not place:
                with suppress(StorageError):
                    place.storage.write(key, source.storage.read(key))
                    break


def _copy_all(
    project: Project, place: Place, missing: Iterable[Manifest], catalog: Catalog, progress: Progress
) -> list[CopyOutcome]:
    outcomes: list[CopyOutcome] = []
    for manifest in missing:
        try:
            source = copy_backup(project, manifest, place, catalog, progress)
        except AlreadyRunning:
            raise  # by another process, which goes on
        except BackupError as error:
            outcomes.append(CopyOutcome(name=manifest.name, place=place.name, error=error))
            _log.warning("%s is not copied to %s: %s", manifest.name, place, error)
            send_failed(manifest, place, str(error))
            if isinstance(error, StorageError) and not isinstance(error, NameTaken):
                break  # the place itself does not work; the next tick tries again
        else:
            if source:
                outcomes.append(CopyOutcome(name=manifest.name, place=place.name, source=source.name))
    if outcomes and not any(outcome.error for outcome in outcomes):
        signals.send(signals.copies_complete, place=place.name)
    return outcomes


def copy_backup(
    project: Project,
    manifest: Manifest,
    target: Place,
    catalog: Catalog,
    progress: Progress = SILENT,
    *,
    replace_damaged: bool = False,
) -> Place | None:
    """Copy *manifest* to *target* from the first place that has it intact, with its proofs and its pin.

    :param catalog: of all places.
    :param replace_damaged: read what *target* has under the name; if that is damaged, delete it, after a good one was
        found elsewhere.
    :returns: the place that it came from; None: *target* has it already.
    :raises NameTaken: *target* has another object under one of its keys: nothing is overwritten.
    :raises VerificationFailed: it is good in no place; or damaged in *target*, and not to be replaced.
    """
    catalog.require_signature(manifest, allow_unsigned=True)
    state = state_in(target, manifest, catalog)
    if state == "intact" and not (replace_damaged and _is_damaged(target, manifest, progress)):
        return None
    is_damaged = state != "missing"
    sources = [place for place in places_with(project, catalog, manifest) if place is not target]
    if is_damaged and not replace_damaged:
        raise VerificationFailed(
            f"{manifest.name} is damaged in {target}, or another backup has its name there. Nothing is overwritten: "
            f"look at it, then run `backup_copy {manifest.name} --to {target.name} --replace-damaged`."
        )
    if not sources:
        raise VerificationFailed(
            f"{manifest.name} is damaged in {target}, as reading shows, and no other place has it: it stays as it is."
        )
    with (
        defer_signals() as deferred,
        copy_lock(project, manifest.source, target),
        deferred.allowed(),
    ):
        if is_damaged:
            read_first_good(sources, lambda storage: check_archives(storage, manifest, progress), progress)
            _delete_damaged(target, manifest, catalog)
        sidecars = list(catalog.proof_keys.get(manifest.name, ()))
        sidecars += [f"{manifest.name}{PIN_SUFFIX}"] * (manifest.name in catalog.pinned)
        source, _ = read_first_good(
            sources, lambda storage: _copy(storage, target.storage, manifest, sidecars, progress), progress
        )
    signals.send(signals.backup_copied, manifest=manifest, place=target.name, copied_from=source.name)
    return source


def copy_to_places(
    project: Project,
    catalog: Catalog,
    manifest: Manifest,
    targets: Sequence[Place],
    progress: Progress = SILENT,
    *,
    replace_damaged: bool = False,
) -> list[CopyOutcome]:
    """Copy *manifest* to those of *targets* where it is missing; one that fails does not keep the others from it.

    A copy that is damaged counts as one that failed, unless it is replaced.

    :param catalog: of all places.
    :returns: what became of each; nothing of those that have it already.
    :raises StorageError: one of them is away; nothing was copied.
    """
    for place in targets:
        if place.name in catalog.away:
            raise StorageError(f"Nothing is copied to {place}: {catalog.away[place.name]}")
    outcomes = []
    for place in targets:
        try:
            if source := copy_backup(project, manifest, place, catalog, progress, replace_damaged=replace_damaged):
                outcomes.append(CopyOutcome(name=manifest.name, place=place.name, source=source.name))
        except BackupError as error:
            outcomes.append(CopyOutcome(name=manifest.name, place=place.name, error=error))
    if any(outcome.source for outcome in outcomes):
        send_complete(project, read_places(project))
    return outcomes


def copies_error(outcomes: Sequence[CopyOutcome]) -> BackupError | None:
    """Return the error of several copies: None, the one error, AllFailed or SomeFailed."""
    failed = {outcome.place: outcome.error for outcome in outcomes if outcome.error}
    lines = [f"{each.name} to {each.place}: {each.error}" for each in outcomes if each.error]
    if len(lines) == 1 == len(outcomes):
        return next(iter(failed.values()))
    if not lines:
        return None
    made = [outcome.place for outcome in outcomes if not outcome.error]
    kind = AllFailed if len(lines) == len(outcomes) else SomeFailed
    return kind(f"{len(lines)} of {len(outcomes)} copies were not made:", *lines, made=made, errors=failed)


def require_places(project: Project) -> None:
    """
    :raises UsageError: there is only one place.
    """
    if len(project.places) == 1:
        raise UsageError("There is one place, and nothing to copy: BackupConfig.copies names further ones.")


def send_failed(manifest: Manifest, place: Place, message: str) -> None:
    signals.send(signals.copy_failed, manifest=manifest, place=place.name, required=place.required, message=message)


def _is_damaged(target: Place, manifest: Manifest, progress: Progress) -> bool:
    """Whether reading shows that the copy in *target*, which the list takes for intact, is damaged."""
    try:
        check_archives(target.storage, manifest, progress)
    except VerificationFailed:
        return True
    return False


def _delete_damaged(target: Place, manifest: Manifest, catalog: Catalog) -> None:
    """The pin stays: it may be in no other place, and nothing may delete the good ones in the meantime."""
    listed = [each for each in catalog.damaged_copies.get(target.name, ()) if each.name == manifest.name]
    keys = {key for each in listed for key in each.archive_keys}
    proofs = catalog.proof_keys.get(manifest.name, ())
    delete_backup(target.storage, manifest.name, {*keys, *manifest.archive_keys}, sidecars=proofs)


def _copy(source: Storage, target: Storage, manifest: Manifest, sidecars: Iterable[str], progress: Progress) -> None:
    """The archives, then the manifest, then the sidecars."""
    content = source.read(manifest.key)
    if Manifest.from_json(content, manifest.key) != manifest:
        raise VerificationFailed(f"{manifest.key} in {source.location} has changed since it was listed.")
    with (
        byte_progress(progress, f"{manifest.name}: copying to {target.location}", manifest.size) as advance,
        _removed_unless_published(target, manifest.key) as made,
    ):
        for part in manifest.parts:
            if _has_same(target, part):
                continue
            with (
                source.open(part.archive_key) as stored,
                target.publish(part.archive_key, expected_size=part.size) as sink,
            ):
                copy_stored(stored, sink, part.archive, advance)
            made.append(part.archive_key)
        write_manifest(target, manifest.key, content)
    for key in sidecars:
        if source.stat(key) and target.stat(key) is None:  # each may be in some of the places only
            target.write(key, source.read(key))


def write_manifest(storage: Storage, key: str, content: bytes) -> None:
    """Write a manifest; it is no error if another process has just written the same one.

    :raises NameTaken: there is another one.
    """
    with suppress(NameTaken):
        storage.write(key, content)
    if storage.read(key) != content:  # not every service refuses to overwrite
        raise NameTaken.of(key, storage.location)


@contextmanager
def _removed_unless_published(target: Storage, manifest_key: str) -> Iterator[list[str]]:
    """Delete the objects whose keys the block has put into the list, if it fails and no manifest may name them."""
    made: list[str] = []
    try:
        yield made
    except BaseException:
        if made and target.stat(manifest_key) is None:
            for key in made:
                target.delete(key)
        raise


def _has_same(target: Storage, part: Manifest) -> bool:
    """Whether an interrupted copy has left the archive there.

    :raises NameTaken: it is another object.
    """
    found = target.stat(part.archive_key)
    if found is None:
        return False
    try:
        if found.size == part.archive.size:
            with target.open(part.archive_key) as stored:
                check_stored(stored, part.archive)
            return True
    except VerificationFailed:
        pass
    raise NameTaken.of(part.archive_key, target.location)
