"""Signals: sent when something has happened, with plain data as keyword arguments. The sender is None.

A receiver that fails is logged and stops nothing; ``restore_checked`` alone is a question, whose receivers may refuse.

=========================  =============================================================================================
signal                     arguments
=========================  =============================================================================================
backup_started             source (Source), trigger (str)
backup_succeeded           manifest (Manifest), warning (str: it is much smaller than the ones before; else empty)
backup_failed              source, message (str, no secret)
backup_overdue             source, message. Sent by every tick for as long as it lasts
slots_missed               source, kind (str: "backup" or "verification"), slots (list of datetime): due times that were
                           not served; the newest is being made up for
schedule_succeeded         project (str), env (str), source (Source or None), kind (str). source None: a tick did its
                           work; else the scheduled run of that source has begun
schedule_failed            the same and message: a tick could not do its work; or the run could not begin where it was
                           to be made, since the history cannot be used there, and its claim waits
verification_succeeded     source, manifest (Manifest; None: all backups of the source were looked at), drill (bool: it
                           was restored, else read), proof (Proof of a drill, else None), trigger (str: "manual" or
                           "scheduled"), message (str: what was checked)
verification_failed        the same arguments. A failed drill without a proof has learned nothing of the backup: there
                           was no server, no key, no permission
backup_copied              manifest, place (str: its name), copied_from (str): a copy was made up for, or made by hand
copy_failed                manifest, place, required (bool), message: the backup is made, and not in that place
copies_complete            place: nothing is missing there any more
backup_deleted             name (str), manifest (None where it could not be read). By hand or by retention
backup_pinned              manifest, why (str)
backup_unpinned            manifest
prune_succeeded            source (None: by hand), deleted (list of Manifest), freed (int, bytes)
prune_failed               source, message: the prune that followed a backup, which is made, did not delete all that was
                           due, or what has to stay is more than max_total_size_mb
restore_succeeded          manifest (None after ``--resume`` where the history does not know it), database (str, alias
                           that was restored), old_data (str: where it is kept; or None), seconds (float: how long it
                           took; after ``--resume`` since its beginning)
restore_failed             manifest (None where its process died), database, message
restore_checked            manifest, database, scratch (the restored data as an entry of settings.DATABASES, to be
                           opened and closed again; None where it cannot be reached, as in a restore in place). Sent
                           when the restored data has passed all checks and has not yet replaced the old. A receiver
                           that raises stops the restore, and the database stays as it is
=========================  =============================================================================================
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django.dispatch import Signal

if TYPE_CHECKING:
    from django_cfg.backup.manifest import Manifest, Proof, Source

backup_started = Signal()
backup_succeeded = Signal()
backup_failed = Signal()
backup_overdue = Signal()
slots_missed = Signal()
schedule_succeeded = Signal()
schedule_failed = Signal()
verification_succeeded = Signal()
verification_failed = Signal()
backup_copied = Signal()
copy_failed = Signal()
copies_complete = Signal()
backup_deleted = Signal()
backup_pinned = Signal()
backup_unpinned = Signal()
prune_succeeded = Signal()
prune_failed = Signal()
restore_succeeded = Signal()
restore_failed = Signal()
restore_checked = Signal()

# Those that notifications of people are made of.
NOTIFIED = (
    backup_succeeded,
    backup_failed,
    backup_overdue,
    slots_missed,
    prune_succeeded,
    prune_failed,
    verification_succeeded,
    verification_failed,
    schedule_succeeded,
    schedule_failed,
    copy_failed,
    copies_complete,
)

# Those that webhooks are sent.
PUBLISHED = (
    backup_succeeded,
    backup_failed,
    backup_deleted,
    prune_failed,
    verification_succeeded,
    verification_failed,
    restore_succeeded,
    restore_failed,
)

_log = logging.getLogger("django_cfg.backup")


def send(signal: Signal, **facts: Any) -> None:
    """Send *signal* to every receiver."""
    for receiver, result in signal.send_robust(None, **facts):
        if isinstance(result, Exception):
            _log.error("The receiver %r of a backup signal failed: %r", receiver, result)


def send_verification(
    signal: Signal,
    source: Source,
    message: str,
    *,
    drill: bool,
    trigger: str,
    manifest: Manifest | None = None,
    proof: Proof | None = None,
) -> None:
    """Send ``verification_succeeded`` or ``verification_failed``, with all of their arguments."""
    facts = {"source": source, "manifest": manifest, "drill": drill, "proof": proof, "trigger": trigger}
    send(signal, **facts, message=message)
