"""Serving a claim of a verification: the newest backup of one database, drilled or read."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from django_cfg.backup import signals
from django_cfg.backup.errors import (
    AlreadyRunning,
    BackupError,
    BackupNotFound,
    KeyMissing,
    RestoreUnderWay,
    VerificationFailed,
)
from django_cfg.backup.manifest import Manifest, Proof, Source
from django_cfg.backup.models import BackupRun
from django_cfg.backup.pipeline.encryption.decryption_keys import keys_of
from django_cfg.backup.services.catalog.catalog import (
    Catalog,
    damaged_of,
    describe_damage,
    latest,
    read_catalog,
)
from django_cfg.backup.services.project.progress import SILENT, Progress
from django_cfg.backup.services.project.project import Project, current_project
from django_cfg.backup.services.runs.file_lock import source_lock
from django_cfg.backup.services.runs.heartbeat import beating
from django_cfg.backup.services.runs.history_database import patiently, required, rows
from django_cfg.backup.services.runs.run import RecordedRun, reason
from django_cfg.backup.services.schedule.backup_job import failures_told, find_waiting
from django_cfg.backup.services.verification.drill import drill, require_success
from django_cfg.backup.services.verification.proofs import can_be_drilled
from django_cfg.backup.services.verification.verify import verify

_KIND = BackupRun.Kind.VERIFICATION
_log = logging.getLogger("django_cfg.backup")


@dataclass(frozen=True)
class Verified:
    """A backup that was found good, as far as could be looked."""

    manifest: Manifest
    proof: Proof | None  # of a drill; None: it was read only
    told: str = ""  # what was found, when it was read only


def serve_verification(
    run: int, database: str, claimed: str, progress: Progress = SILENT, *, waits: bool = True
) -> Verified | None:
    """Verify the newest backup, as the claim *run* says.

    :param claimed: when, in ISO 8601: after a restore the number may be another claim's.
    :param waits: for another restore or drill of the same database; else the claim is left for the next tick.
    :returns: None when the claim waits no more, nothing is wanted, or another one has to end first.
    :raises BackupError: the backup is not good, or that could not be found out; it was told of.
    """
    project = current_project()
    source = project.source(database)
    try:
        with failures_told(source, _KIND):
            with required(f"look up the claim of the verification of {source}"):
                claim = find_waiting(source, run, claimed, _KIND)
            if claim is None or project.config.verification_schedule_for(database) is None:
                return None
            verified = _serve(project, source, claim, progress, waits)
    except AlreadyRunning as error:
        _log.info("%s It is tried again with the next tick.", error)
        return None
    if verified:
        signals.tell(signals.claim_succeeded, BackupRun, source=source, kind=str(_KIND))
    return verified


def _serve(project: Project, source: Source, claim: BackupRun, progress: Progress, waits: bool) -> Verified | None:
    with source_lock(project, source, _KIND) as lock_file:
        run = RecordedRun(project, source, "scheduled", lock_file, claim)
        try:
            with beating(run.row_id):
                verified = _verify_newest(project, source, run, progress, waits)
        except BackupNotFound:
            patiently(lambda: rows().filter(pk=claim.pk).delete())  # all are gone: there is nothing to serve
            return None
        except BaseException as error:
            if isinstance(error, RestoreUnderWay) and not waits:
                run.postponed()
                _log.info("%s The verification is tried again with the next tick.", error)
                return None
            run.failed(error)
            if not isinstance(error, Exception):
                _tell(project, source, reason(error))  # ended from outside; the rest has been told
            raise
        run.succeeded(verified.manifest)
        return verified


def _verify_newest(project: Project, source: Source, run: RecordedRun, progress: Progress, waits: bool) -> Verified:
    """The newest whole backup; and a damaged one beside it is a failure, whatever becomes of that.

    :raises BackupNotFound: there is none any more.
    """
    catalog = _catalog(project, source)
    damaged = describe_damage(damaged_of(project, catalog, source.database))
    if damaged:
        signals.tell(signals.check_failed, BackupRun, source=source, message=damaged)
    try:
        manifest = latest(catalog, project, source.database)
    except BackupNotFound:
        if damaged:
            raise VerificationFailed(damaged) from None
        raise
    run.named(manifest.name)
    verified = _verify(project, manifest, progress, waits)
    if damaged:
        raise VerificationFailed(damaged)
    told = verified.told or "No damaged backup stands in the storage."
    signals.tell(signals.check_succeeded, BackupRun, source=source, message=told)
    return verified


def _catalog(project: Project, source: Source) -> Catalog:
    try:
        return read_catalog(project.storage)
    except BackupError as error:
        _tell(project, source, str(error))
        raise


def _verify(project: Project, manifest: Manifest, progress: Progress, waits: bool) -> Verified:
    keys = replace(keys_of(project.config), may_ask=False)  # nobody is there
    if project.config.verification.drill and can_be_drilled(manifest):
        patience = project.config.verification.schedule.job_timeout if waits else None
        proof = drill(project, manifest, keys, progress, patience=patience)
        require_success(proof)
        return Verified(manifest, proof)
    try:
        verify(project.storage, manifest, progress, tools_dir=project.config.tools_dir, keys=keys)
    except KeyMissing as error:
        told = f"{manifest.name} is stored as it was written; what it holds was not looked at. {error}"
        _log.info("%s", told)
        return Verified(manifest, None, told)
    except Exception as error:
        signals.tell(signals.check_failed, BackupRun, source=manifest.source, message=reason(error))
        raise
    return Verified(manifest, None, f"{manifest.name} was read to its last byte, and is good.")


def _tell(project: Project, source: Source, message: str) -> None:
    if project.config.verification.drill:
        signals.tell(signals.drill_failed, BackupRun, source=source, proof=None, message=message)
    else:
        signals.tell(signals.check_failed, BackupRun, source=source, message=message)
