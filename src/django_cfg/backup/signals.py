"""Sent when something has happened, with plain data; a receiver that fails is logged and stops nothing.

``backup_succeeded``: ``manifest`` (:class:`~django_cfg.backup.manifest.Manifest`).
``backup_failed``: ``source`` (:class:`~django_cfg.backup.manifest.Source`), ``message`` (str, no secret).
``backup_missed``: ``source``, ``slots`` (list of datetime): due times that no backup was made for.
``backup_overdue``: ``source``, ``message``; sent by every tick for as long as it lasts.
``schedule_failed``: ``project`` and ``env`` (str), ``message``: a tick could not do its work.
``schedule_succeeded``: ``project`` and ``env`` (str): a tick could.
``drill_succeeded``, ``drill_failed``: ``source``, ``proof`` (:class:`~django_cfg.backup.manifest.Proof`).
``restore_succeeded``: ``manifest``, ``target`` (str, alias).
``restore_failed``: ``manifest``, ``target``, ``message``.
``verify_succeeded``: ``manifest``.
``verify_failed``: ``manifest``, ``message``.
"""

from __future__ import annotations

import logging
from typing import Any

from django.dispatch import Signal

backup_succeeded = Signal()
backup_failed = Signal()
backup_missed = Signal()
backup_overdue = Signal()
schedule_failed = Signal()
schedule_succeeded = Signal()
drill_succeeded = Signal()
drill_failed = Signal()
restore_succeeded = Signal()
restore_failed = Signal()
verify_succeeded = Signal()
verify_failed = Signal()

_log = logging.getLogger("django_cfg.backup")


def tell(signal: Signal, sender: type, **facts: Any) -> None:
    """Send *signal* to every receiver."""
    for receiver, result in signal.send_robust(sender, **facts):
        if isinstance(result, Exception):
            _log.error("The receiver %r of a backup signal failed: %r", receiver, result)
