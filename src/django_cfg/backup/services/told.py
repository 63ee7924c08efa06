"""Signals around what restores and verifies. What a person interrupts is no failure, and not told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from django.dispatch import Signal

from django_cfg.backup import signals
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.models import BackupRun

P = ParamSpec("P")
R = TypeVar("R")


class Plan(Protocol):
    """Of a restore."""

    @property
    def manifest(self) -> Manifest: ...
    @property
    def target(self) -> str: ...


PlanT = TypeVar("PlanT", bound=Plan)


def tells_restore(restore: Callable[Concatenate[PlanT, P], R]) -> Callable[Concatenate[PlanT, P], R]:
    @wraps(restore)
    def telling(plan: PlanT, /, *args: P.args, **kwargs: P.kwargs) -> R:
        facts = {"manifest": plan.manifest, "target": plan.target}
        with _told(signals.restore_succeeded, signals.restore_failed, **facts):
            return restore(plan, *args, **kwargs)

    return telling


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
