"""Copying a backup from one place to another: byte for byte, compared with its manifest on the way."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

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
from django_cfg.backup.manifest import PIN_SUFFIX, Manifest, proof_time
from django_cfg.backup.pipeline.archive import check_stored, copy_stored
from django_cfg.backup.process.deferred_signals import defer_signals
from django_cfg.backup.records import ErrorText, Record
from django_cfg.backup.services.catalog.archives import check_archives
from django_cfg.backup.services.catalog.catalog import Catalog
from django_cfg.backup.services.catalog.places import places_with, read_first_good, read_places
from django_cfg.backup.services.copies.missing import find_missing, state_in
from django_cfg.backup.services.project.places import Place
from django_cfg.backup.services.project.progress import SILENT, Progress, byte_progress
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.retention.delete import delete_backup
from django_cfg.backup.services.runs.file_lock import source_lock
from django_cfg.backup.storage.base import Storage, removed_on_error

_KIND = "copy"
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
    return outcomes


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
) -> Place:
    """Copy *manifest* to *target* from the first place that has it intact, with its proofs and its pin.

    :param catalog: of all places.
    :param replace_damaged: delete what *target* has under the name, after a good one was found elsewhere.
    :returns: the place that it came from.
    :raises NameTaken: *target* has another object under one of its keys: nothing is overwritten.
    :raises VerificationFailed: it is good in no place.
    :raises UsageError: *target* has it already.
    """
    catalog.require_signature(manifest, allow_unsigned=True)
    sources = [place for place in places_with(project, catalog, manifest) if place is not target]
    is_damaged = state_in(target, manifest, catalog) == "damaged"
    if is_damaged and not replace_damaged:
        raise UsageError(
            f"{manifest.name} is damaged in {target}, or another backup has its name there. Nothing is overwritten: "
            f"look at it, then run `backup_copy {manifest.name} --to {target.name} --replace-damaged`."
        )
    if not sources:
        raise UsageError(f"{manifest.name} is intact in {target} alone: there is nothing to copy there.")
    with (
        defer_signals() as deferred,
        source_lock(project, manifest.source, f"{_KIND} to {target.name}"),
        deferred.allowed(),
    ):
        if is_damaged:
            read_first_good(sources, lambda storage: check_archives(storage, manifest, progress), progress)
            _delete_damaged(target, manifest, catalog)
        source, _ = read_first_good(
            sources, lambda storage: _copy(storage, target.storage, manifest, progress), progress
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

    :param catalog: of all places.
    :returns: what became of each; nothing of those that have it already.
    :raises StorageError: one of them is away; nothing was copied.
    """
    for place in targets:
        if place.name in catalog.away:
            raise StorageError(f"Nothing is copied to {place}: {catalog.away[place.name]}")
    wanted = {"missing", "damaged"} if replace_damaged else {"missing"}
    outcomes = []
    for place in (target for target in targets if state_in(target, manifest, catalog) in wanted):
        try:
            source = copy_backup(project, manifest, place, catalog, progress, replace_damaged=replace_damaged)
            outcomes.append(CopyOutcome(name=manifest.name, place=place.name, source=source.name))
        except BackupError as error:
            outcomes.append(CopyOutcome(name=manifest.name, place=place.name, error=error))
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


def _delete_damaged(target: Place, manifest: Manifest, catalog: Catalog) -> None:
    found = next(each for each in catalog.damaged_copies[target.name] if each.name == manifest.name)
    delete_backup(target.storage, manifest.name, {*found.archive_keys, *manifest.archive_keys})


def _copy(source: Storage, target: Storage, manifest: Manifest, progress: Progress) -> None:
    """The archives, then the manifest, then the sidecars."""
    content = source.read(manifest.key)
    if Manifest.from_json(content, manifest.key) != manifest:
        raise VerificationFailed(f"{manifest.key} in {source.location} has changed since it was listed.")
    with (
        byte_progress(progress, f"{manifest.name}: copying to {target.location}", manifest.size) as advance,
        removed_on_error(target) as made,
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
        target.write(manifest.key, content)
    if target.read(manifest.key) != content:  # not every service refuses to overwrite
        raise NameTaken.of(manifest.key, target.location)
    _copy_sidecars(source, target, manifest.name)


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


def _copy_sidecars(source: Storage, target: Storage, name: str) -> None:
    """Sidecars that *target* has already stay."""
    for found in source.list():
        is_proof = found.key.startswith(f"{name}.") and proof_time(found.key) is not None
        if (is_proof or found.key == f"{name}{PIN_SUFFIX}") and target.stat(found.key) is None:
            target.write(found.key, source.read(found.key))
