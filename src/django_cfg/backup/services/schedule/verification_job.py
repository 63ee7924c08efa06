"""Serving a claim of a verification: the newest backup of one database, drilled or read."""

from __future__ import annotations

import logging
from dataclasses import replace

from django.dispatch import Signal
from pydantic import Field, SkipValidation

from django_cfg.backup import signals
from django_cfg.backup.errors import (
    AlreadyRunning,
    BackupError,
    BackupNotFound,
    Cancelled,
    KeyMissing,
    RestoreUnderWay,
    VerificationFailed,
)
from django_cfg.backup.manifest import Manifest, Proof, Source
from django_cfg.backup.models import Run
from django_cfg.backup.pipeline.encryption.decryption_keys import decryption_keys
from django_cfg.backup.policy.health import last_proof
from django_cfg.backup.records import Record
from django_cfg.backup.services.catalog.catalog import Catalog, damaged_of, describe_damage, latest_backup
from django_cfg.backup.services.catalog.places import places_with, read_places
from django_cfg.backup.services.project.places import Place
from django_cfg.backup.services.project.progress import SILENT, Progress
from django_cfg.backup.services.project.project import Project, current_project, operation
from django_cfg.backup.services.runs.history_database import required
from django_cfg.backup.services.runs.run import RecordedRun, failure_reason
from django_cfg.backup.services.schedule.backup_job import find_waiting, history_failures_sent, send_begun
from django_cfg.backup.services.verification.drill import drill, require_success
from django_cfg.backup.services.verification.proofs import can_be_drilled
from django_cfg.backup.services.verification.verify import verify

_KIND = Run.Kind.VERIFICATION
_log = logging.getLogger("django_cfg.backup")


class VerificationResult(Record):
    """A backup that was found good, as far as it could be checked."""

    name: str
    error: None = None
    proof: Proof | None = None  # of a drill; None: it was only read
    checked: str = ""  # what was checked, where it was only read
    manifest: SkipValidation[Manifest] = Field(exclude=True)


@operation()
def run_claimed_verification(
    run: int, database: str, claimed: str, progress: Progress = SILENT, *, waits: bool = True
) -> VerificationResult | None:
    """Verify the newest backup, as the claim *run* says.

    :param claimed: when, in ISO 8601: after a restore the number may be another claim's.
    :param waits: for another restore or drill of the same database; else the claim is left for the next tick.
    :returns: None when the claim waits no more, nothing is wanted, or another one has to end first.
    :raises BackupError: the backup is not good, or that could not be found out; the signal has been sent.
    """
    project = current_project()
    source = project.source(database)
    try:
        with history_failures_sent(source, _KIND):
            with required(f"look up the claim of the verification of {source}"):
                claim = find_waiting(source, run, claimed, _KIND)
            if claim is None or project.config.verification_schedule_for(database) is None:
                return None
            verified = _serve(project, source, claim, progress, waits)
    except AlreadyRunning as error:
        _log.info("%s It is tried again with the next tick.", error)
        return None
    except Cancelled as error:  # no failure
        _log.info("%s", error)
        return None
    if verified:
        send_begun(source, _KIND)
    return verified


def _serve(project: Project, source: Source, claim: Run, progress: Progress, waits: bool) -> VerificationResult | None:
    def ended(error: BaseException | None) -> None:
        if error and not isinstance(error, Exception):  # ended from outside; all other failures have been sent
            _send_failed(project, source, failure_reason(error))

    run = RecordedRun(project, source, _KIND, progress=progress, claim=claim, ended=ended)
    with run.recorded(), run.interruptible():
        try:
            verified = _verify_newest(project, source, run, waits)
        except BackupNotFound:
            run.forget()  # all are gone: there is nothing to verify
            return None
        except RestoreUnderWay as error:
            if waits:
                raise
            run.postpone()
            _log.info("%s The verification is tried again with the next tick.", error)
            return None
        run.succeed(name=verified.name, size=verified.manifest.size)
    return verified


def _verify_newest(project: Project, source: Source, run: RecordedRun, waits: bool) -> VerificationResult:
    """Verify the newest intact backup. A damaged one next to it is a failure, whatever the result.

    :raises BackupNotFound: there is none any more.
    """
    catalog = _catalog(project, source)
    damaged = describe_damage(damaged_of(project, catalog, source.database))
    if damaged:
        _send(signals.verification_failed, source, damaged)
    try:
        manifest = latest_backup(catalog, project, source.database)
    except BackupNotFound:
        if damaged:
            raise VerificationFailed(damaged) from None
        raise
    run.set_name(manifest.name)
    try:
        catalog.require_signature(manifest)
    except VerificationFailed as error:
        _send_failed(project, source, str(error))
        raise
    verified = _verify(project, _place_in_turn(project, catalog, manifest, run), manifest, run.progress, waits)
    if damaged:
        raise VerificationFailed(damaged)
    _send(signals.verification_succeeded, source, verified.checked or "The storage holds no damaged backup.")
    return verified


def _catalog(project: Project, source: Source) -> Catalog:
    try:
        return read_places(project)
    except BackupError as error:
        _send_failed(project, source, str(error))
        raise


def _place_in_turn(project: Project, catalog: Catalog, manifest: Manifest, run: RecordedRun) -> Place:
    """Return the place that comes after the one of the last drill; where it is only read, another one each time."""
    places = places_with(project, catalog, manifest)
    names = [place.name for place in project.places]
    last = last_proof([backup for backup in catalog.backups if backup.source == manifest.source], catalog.proofs)
    if not (project.config.verification.drill and can_be_drilled(manifest)):
        begin = run.row_id or 0
    else:
        begin = names.index(last.place) + 1 if last and last.place in names else 0
    in_turn = [names[(begin + number) % len(names)] for number in range(len(names))]
    return min(places, key=lambda place: in_turn.index(place.name))


def _verify(project: Project, place: Place, manifest: Manifest, progress: Progress, waits: bool) -> VerificationResult:
    keys = replace(decryption_keys(project.config), may_ask=False)  # no person is there to answer
    if project.config.verification.drill and can_be_drilled(manifest):
        patience = project.config.verification.schedule.job_timeout if waits else None
        proof = drill(project, place, manifest, keys, progress, patience=patience, trigger="scheduled")
        require_success(proof)
        return VerificationResult(name=manifest.name, manifest=manifest, proof=proof)
    checked = f"{manifest.name} was read to its last byte, and is good."
    try:
        verify(project, place, manifest, keys, progress, trigger="scheduled")
    except KeyMissing as error:
        checked = f"{manifest.name} is stored as it was written; its content was not checked. {error}"
        _log.info("%s", checked)
    return VerificationResult(name=manifest.name, manifest=manifest, checked=checked)


def _send_failed(project: Project, source: Source, message: str) -> None:
    """Send that nothing could be verified."""
    _send(signals.verification_failed, source, message, drill=project.config.verification.drill)


def _send(signal: Signal, source: Source, message: str, *, drill: bool = False) -> None:
    signals.send_verification(signal, source, message, drill=drill, trigger="scheduled")
