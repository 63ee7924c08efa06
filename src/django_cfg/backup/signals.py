"""Sent when something has happened, with plain data; a receiver that fails is logged and stops nothing.

``backup_started``: ``source`` (:class:`~django_cfg.backup.manifest.Source`), ``trigger`` (str).
``backup_succeeded``: ``manifest`` (:class:`~django_cfg.backup.manifest.Manifest`).
``backup_failed``: ``source``, ``message`` (str, no secret).
``backup_missed``: ``source``, ``slots`` (list of datetime): due times that no backup was made for.
``backup_overdue``: ``source``, ``message``; sent by every tick for as long as it lasts.
``schedule_failed``: ``project`` and ``env`` (str), ``message``: a tick could not do its work.
``schedule_succeeded``: ``project`` and ``env`` (str): a tick could.
``claim_failed``: ``source``, ``kind`` (str, of the claimed run: backup or verification), ``message``: the run could not
begin where it was to be made, since the history cannot be used there; the claim waits. ``claim_succeeded``: ``source``,
``kind``: it was made.
``drill_succeeded``: ``source``, ``proof`` (:class:`~django_cfg.backup.manifest.Proof`).
``drill_failed``: ``source``, ``message``, ``proof``; None when nothing was learned of the backup: no server, no key.
``check_succeeded``: ``source``, ``message`` (what was looked at); ``check_failed``: ``source``, ``message``: a
scheduled verification found the archives whole, or a damaged one; what a drill found beside that, its own signals tell.
``verify_succeeded``: ``manifest``.
``verify_failed``: ``manifest``, ``message``.
``verification_missed``: ``source``, ``slots``: due times that nothing was verified at; the newest is being made up for.
``backup_deleted``: ``name`` (str), ``manifest``; None when it could not be read. By hand or by retention.
``backup_pinned``: ``manifest``, ``why`` (str). ``backup_unpinned``: ``manifest``.
``prune_failed``: ``source``, ``message`` (str): the prune that followed a backup, which is made, did not delete all
that was due, or what has to stay is more than max_total_size_mb. ``prune_succeeded``: ``source`` (None: by hand),
``deleted`` (list of Manifest), ``freed`` (int, bytes).
``restore_succeeded``: ``manifest``, ``database`` (alias that was restored), ``old_data`` (where it is kept, or None),
``seconds`` (float, how long it took). Of a restore that ``backup_restore --resume`` has finished, ``manifest`` is None
where the history does not know it, and ``seconds`` count from what is known of its beginning.
``restore_failed``: ``manifest``, ``database``, ``message``.

One signal asks instead of telling: ``restore_checked``, sent when restored data has passed all checks and has not yet
taken the place of the old. ``manifest``, ``database``, ``scratch`` (the restored data as an entry of
settings.DATABASES, to be opened and closed again; None where it cannot be reached, as in a restore in place). A
receiver that raises stops the restore, and the database stays as it is.
"""

from __future__ import annotations

import logging
from typing import Any

from django.dispatch import Signal

backup_started = Signal()
backup_succeeded = Signal()
backup_failed = Signal()
backup_deleted = Signal()
backup_pinned = Signal()
backup_unpinned = Signal()
prune_succeeded = Signal()
prune_failed = Signal()
verification_missed = Signal()
backup_missed = Signal()
backup_overdue = Signal()
schedule_failed = Signal()
schedule_succeeded = Signal()
claim_failed = Signal()
claim_succeeded = Signal()
drill_succeeded = Signal()
drill_failed = Signal()
check_succeeded = Signal()
check_failed = Signal()
restore_succeeded = Signal()
restore_failed = Signal()
restore_checked = Signal()
verify_succeeded = Signal()
verify_failed = Signal()

_log = logging.getLogger("django_cfg.backup")


def tell(signal: Signal, sender: type, **facts: Any) -> None:
    """Send *signal* to every receiver."""
    for receiver, result in signal.send_robust(sender, **facts):
        if isinstance(result, Exception):
            _log.error("The receiver %r of a backup signal failed: %r", receiver, result)
