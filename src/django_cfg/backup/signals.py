"""Sent when something has happened, with plain data; a receiver that fails is logged and stops nothing.

``backup_succeeded``: ``manifest`` (:class:`~django_cfg.backup.manifest.Manifest`).
``backup_failed``: ``source`` (:class:`~django_cfg.backup.manifest.Source`), ``message`` (str, no secret).
``prune_failed``: ``source``, ``message`` (str); the backup that the prune followed is made.
"""

from __future__ import annotations

import logging
from typing import Any

from django.dispatch import Signal

backup_succeeded = Signal()
backup_failed = Signal()
prune_failed = Signal()

_log = logging.getLogger("django_cfg.backup")


def tell(signal: Signal, sender: type, **facts: Any) -> None:
    """Send *signal* to every receiver."""
    for receiver, result in signal.send_robust(sender, **facts):
        if isinstance(result, Exception):
            _log.error("The receiver %r of a backup signal failed: %r", receiver, result)
