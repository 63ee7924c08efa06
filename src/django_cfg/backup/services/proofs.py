"""Proofs in the storage: what a drill has found stands beside the manifest it is about."""

from __future__ import annotations

import itertools
import logging
from datetime import datetime, timedelta

from django_cfg.backup.errors import BackupError, BackupNotFound, NameTaken, StorageError, counted
from django_cfg.backup.manifest import Manifest, Proof, proof_key
from django_cfg.backup.pipeline.encryption.keyring import holds_private_key_of
from django_cfg.backup.services.catalog import Catalog, proof_numbers
from django_cfg.backup.services.project import Project
from django_cfg.backup.storage.base import Storage

_ATTEMPTS = 5  # against drills of the same backup on other machines
_log = logging.getLogger("django_cfg.backup")


def publish_proof(storage: Storage, manifest: Manifest, proof: Proof) -> None:
    """Put *proof* in the place of earlier ones. Killed in between, the backup counts as not proved.

    One that the storage does not let go stays, and *proof* comes after it: the last one counts.

    :raises BackupNotFound: something deleted the backup meanwhile; the proof is not left behind.
    """
    key = _written(storage, manifest.name, proof.to_json())
    if storage.stat(manifest.key) is None:
        storage.delete(key)
        raise BackupNotFound(f"{manifest.name} was deleted while it was drilled: nothing is proved. Drill another one.")


def can_be_opened_here(manifest: Manifest) -> bool:
    """False where the backup needs a private key that this user's keyring does not hold."""
    if manifest.encryption.method != "public-key":
        return True
    try:
        return holds_private_key_of(manifest.encryption.recipients)
    except BackupError:
        return False  # no gpg, no key


def proof_is_old(project: Project, backups: list[Manifest], catalog: Catalog, now: datetime) -> str:
    """What to say when nothing of *backups*, those of one source, was proved lately; empty when all is well."""
    if not backups or not project.config.expects_proofs_of(backups[0].source.database):
        return ""
    most = timedelta(days=project.config.verification.max_proof_age_days)
    proved = [catalog.proofs[backup.name].at for backup in backups if catalog.is_proved(backup)]
    if now - max(proved, default=backups[-1].started_at) <= most:
        return ""
    what = f"the last proof is {counted((now - max(proved)).days, 'day')} old" if proved else "it was never proved"
    where = "" if can_be_opened_here(backups[0]) else ", where the private key is: it cannot be proved here"
    return f"{what}, and max_proof_age_days is {most.days}: run `backup_verify latest --drill`{where}"


def _written(storage: Storage, name: str, data: bytes) -> str:
    """Nothing is ever overwritten: the old ones go first. The key of the new one."""
    for attempt in itertools.count(1):
        key = proof_key(name, _cleared(storage, name) + 1)
        try:
            storage.write(key, data)
        except NameTaken:
            if attempt == _ATTEMPTS:
                raise
        else:
            break
    return key


def _cleared(storage: Storage, name: str) -> int:
    """Remove the earlier proofs, the oldest first, so that the last one counts wherever this ends; the number of the
    last when one stays, else 0."""
    numbers = proof_numbers({found.key for found in storage.list()}).get(name, ())
    for number in numbers:
        try:
            storage.delete(proof_key(name, number))
        except StorageError as error:
            _log.info("An earlier proof stays, and counts no more: %s", error)
            return numbers[-1]
    return 0
