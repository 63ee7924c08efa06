"""Proofs in the storage: what a drill has found stands beside the manifest it is about."""

from __future__ import annotations

from datetime import datetime, timedelta

from django_cfg.backup.errors import BackupError, BackupNotFound, NameTaken, counted
from django_cfg.backup.manifest import PROOF_SUFFIX, Manifest, Proof
from django_cfg.backup.pipeline.encryption.keyring import holds_private_key_of
from django_cfg.backup.services.catalog import Catalog
from django_cfg.backup.services.project import Project
from django_cfg.backup.storage.base import Storage

_ATTEMPTS = 5  # against drills of the same backup on other machines


def publish_proof(storage: Storage, manifest: Manifest, proof: Proof) -> None:
    """Put *proof* in the place of an earlier one. Killed in between, the backup counts as not proved.

    :raises BackupNotFound: something deleted the backup meanwhile; the proof is not left behind.
    """
    key = f"{manifest.name}{PROOF_SUFFIX}"
    _replace(storage, key, proof.to_json())
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


def _replace(storage: Storage, key: str, data: bytes) -> None:
    """Nothing is ever overwritten: the old one goes first."""
    for attempt in range(_ATTEMPTS):
        storage.delete(key)
        try:
            storage.write(key, data)
        except NameTaken:
            if attempt + 1 == _ATTEMPTS:
                raise
        else:
            return
