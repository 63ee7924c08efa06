"""The receiver of ``pre_migrate``. It imports what makes backups only where a backup is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.conf import settings

Plan = Sequence[tuple[Any, bool]]  # migrations in their order, and whether each is unapplied

_instead: ContextVar[Callable[[Plan], None] | None] = ContextVar("django_cfg_backup_pre_migrate", default=None)


def receive_pre_migrate(using: str, verbosity: int, plan: Plan = (), stdout: Any = None, **_: Any) -> None:
    """Back up the database *using* before the first migration of *plan*, if settings.BACKUP asks for it.

    :raises CommandError: there is no backup, so nothing may be migrated.
    """
    if instead := _instead.get():
        instead(plan)
    elif plan and _is_chosen():
        from django_cfg.backup.management.before_migrate import back_up_or_stop

        back_up_or_stop(using, plan, verbosity, stdout)


@contextmanager
def received_by(receiver: Callable[[Plan], None]) -> Iterator[None]:
    """Give the plan of each ``migrate`` of the block to *receiver* instead."""
    token = _instead.set(receiver)
    try:
        yield
    finally:
        _instead.reset(token)


def _is_chosen() -> bool:
    """Whether ``before_migrate`` is given, as far as is seen without reading the configuration."""
    backup = getattr(settings, "BACKUP", None)
    chosen = backup.get("before_migrate") if isinstance(backup, dict) else getattr(backup, "before_migrate", None)
    return chosen not in (None, "off")
