"""Signals around what verifies. What a person interrupts is no failure, and not told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.dispatch import Signal

from django_cfg.backup import signals
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.models import BackupRun


@contextmanager
def tells_verification(manifest: Manifest) -> Iterator[None]:
    with _told(signals.verify_succeeded, signals.verify_failed, manifest=manifest):
        yield


@contextmanager
def _told(succeeded: Signal, failed: Signal, **facts: Any) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        signals.tell(failed, BackupRun, **facts, message=str(error) or type(error).__name__)
        raise
    signals.tell(succeeded, BackupRun, **facts)
