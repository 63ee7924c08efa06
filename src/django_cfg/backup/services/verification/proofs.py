"""Proofs in the storage: the result of a drill, next to the manifest it is about."""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import datetime, timedelta

from django_cfg.backup.engines import engine_class
from django_cfg.backup.errors import BackupError, BackupNotFound, NameTaken
from django_cfg.backup.formatting import counted
from django_cfg.backup.manifest import Manifest, Proof, proof_key, proof_time
from django_cfg.backup.pipeline.encryption.keyring import holds_private_key_of
from django_cfg.backup.policy.schedule import next_slot
from django_cfg.backup.services.catalog.catalog import Catalog, proof_keys
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.places import Place, do_in_each, raise_failures
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.storage.base import Storage

_ATTEMPTS = 5  # against drills of the same backup on other machines
_SECOND = timedelta(seconds=1)
_log = logging.getLogger("django_cfg.backup")


def publish_proof(project: Project, manifest: Manifest, proof: Proof) -> None:
    """Write *proof* next to the manifest in every place that has it. Of several proofs of a backup the last one counts.

    :raises BackupNotFound: something deleted the backup in the meantime; the proof is not left behind.
    :raises StorageError: it could be written nowhere. A place that is away gets it with the next copies.
    """
    now = clock.now()  # so that it has one name in all places
    results, failures = do_in_each(project.places, lambda place: _write_where_stored(place, manifest, proof, now))
    if not any(results):
        raise_failures(failures, project.places, f"{manifest.name}: the proof cannot be written")
        raise _deleted(manifest)
    for place, error in failures.items():
        _log.warning("%s: the proof is not written in %s now: %s", manifest.name, place, error)


def _write_where_stored(place: Place, manifest: Manifest, proof: Proof, now: datetime) -> bool:
    try:
        write_proof(place.storage, manifest, proof, now)
    except BackupNotFound:
        return False
    return True


def write_proof(storage: Storage, manifest: Manifest, proof: Proof, now: datetime | None = None) -> None:
    """Like :func:`publish_proof`, in one storage."""
    if storage.stat(manifest.key) is None:
        raise _deleted(manifest)
    key = _write(storage, manifest.name, proof.to_json(), now or clock.now())
    if storage.stat(manifest.key) is None:
        storage.delete(key)
        raise _deleted(manifest)


def _deleted(manifest: Manifest) -> BackupNotFound:
    return BackupNotFound(f"{manifest.name} was deleted while it was drilled: nothing is proved. Drill another one.")


def can_be_drilled(manifest: Manifest) -> bool:
    """Return False if such a backup is restored only into an existing database, never into a staging database."""
    if not manifest.partial:
        return True
    try:
        return engine_class(manifest.engine.vendor, of=f"The backup {manifest.name}").can_drill_partial
    except BackupError:
        return False  # of a vendor that this version does not know


def can_be_opened_here(manifest: Manifest) -> bool:
    """False where the backup needs a private key that this user's keyring does not hold."""
    if manifest.encryption.method != "public-key":
        return True
    try:
        return holds_private_key_of(manifest.encryption.recipients)
    except BackupError:
        return False  # no gpg, no key


def proof_is_old(project: Project, backups: list[Manifest], catalog: Catalog, now: datetime) -> str:
    """Say that no backup of *backups*, those of one source, was proved lately; empty if one was."""
    if (
        not backups
        or not project.config.expects_proofs_of(backups[0].source.database)
        or not can_be_drilled(backups[0])
    ):
        return ""
    most = timedelta(days=project.config.verification.max_proof_age_days)
    proved = max((catalog.proofs[backup.name].at for backup in backups if catalog.is_proved(backup)), default=None)
    if proved and now - proved > most:
        what = f"the last proof is {counted((now - proved).days, 'day')} old, and max_proof_age_days is {most.days}"
    elif not proved and now - backups[-1].started_at > min(most, _first_drill(project, backups[-1]), _reach(project)):
        what = "none of its backups is proved, and a drill was due"
    else:
        return ""
    where = "" if can_be_opened_here(backups[0]) else ", where the private key is: it cannot be proved here"
    return f"{what}: run `backup_verify latest --drill --database {backups[0].source.database}`{where}"


def _first_drill(project: Project, oldest: Manifest) -> timedelta:
    """How long after the *oldest* backup the first drill of its source was to be made, with the grace."""
    schedule = project.config.verification_schedule_for(oldest.source.database)
    if schedule is None:
        return timedelta.max  # elsewhere
    slot = next_slot(schedule, project.zone, oldest.started_at, oldest.started_at)
    return slot - oldest.started_at + timedelta(minutes=schedule.grace_minutes)


def _reach(project: Project) -> timedelta:
    """Return how far back retention keeps backups at least: whether older ones existed is not known."""
    policy = project.config.retention
    if not policy.enabled:
        return timedelta.max
    return timedelta(days=max(policy.keep_daily - 1, 7 * (policy.keep_weekly - 1), 28 * (policy.keep_monthly - 1)))


def _write(storage: Storage, name: str, data: bytes, now: datetime) -> str:
    """Write a proof of the backup *name* that is later than all others, also where another clock is ahead; its key."""
    known = proof_keys(found.key for found in storage.list()).get(name, ())
    times = [now, *(at + _SECOND for key in known if (at := proof_time(key)))]
    for attempt in range(_ATTEMPTS):
        key = proof_key(name, max(times) + attempt * _SECOND)
        with suppress(NameTaken):
            storage.write(key, data)
            return key
    raise NameTaken.of(key, storage.location)
