"""What versions and object lock of the storage mean for what the retention deletes."""

from __future__ import annotations

from collections.abc import Iterator

from django_cfg.backup.config.backup import BackupRetentionConfig
from django_cfg.backup.engines.base import Finding, Level
from django_cfg.backup.errors import StorageError
from django_cfg.backup.formatting import counted
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.storage.base import Immutability

_SUBJECT = "object lock"
_UNTIL = "until a lifecycle rule of the bucket removes noncurrent versions"


def check_immutability(project: Project) -> Iterator[Finding]:
    """Report nothing of a storage that keeps nothing.

    :raises StorageError: backups are to be locked, and the storage refuses to say whether it locks anything.
    """
    own_days = project.config.storage.s3_object_lock_days if project.config.storage.backend == "s3" else None
    try:
        found = project.storage.immutability()
    except StorageError as error:
        if own_days:
            raise
        yield Finding(Level.OK, _SUBJECT, f"whether the bucket keeps versions or locks objects is not known: {error}")
        return
    if found is None:
        return
    if own_days and not found.can_lock:
        text = f"s3_object_lock_days is {own_days}, and the bucket does not lock objects: no backup can be stored. "
        yield Finding(Level.FAILED, _SUBJECT, f"{text}Switch on its object lock, or remove the parameter")
        return
    yield from _describe(found, project.config.retention)


def _describe(found: Immutability, retention: BackupRetentionConfig) -> Iterator[Finding]:
    days, mode = found.lock
    if found.has_versions:
        text = f"the bucket keeps versions: what is deleted is hidden, and takes room {_UNTIL}"
        yield Finding(Level.OK, "versions", text)
    if not days:
        if found.can_lock:
            text = "the bucket can lock objects, and locks none: set s3_object_lock_days, or its default retention"
            yield Finding(Level.OK, _SUBJECT, text)
        return
    text = f"each object is locked for {counted(days, 'day')} ({mode})"
    if retention.enabled and days > retention.keep_daily:
        stays = "cannot be removed before that by any user" if mode == "COMPLIANCE" else "keeps its room until then"
        kept = counted(retention.keep_daily, "day")
        yield Finding(
            Level.OK, _SUBJECT, f"{text}: a backup of a day, which the retention deletes after {kept}, {stays}"
        )
    else:
        yield Finding(Level.OK, _SUBJECT, f"{text}; what the retention deletes is not locked any more by then")
