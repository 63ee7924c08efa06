"""The Django app. Every manage.py starts with it: the checks and receivers are imported when they run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, register
from django.dispatch import Signal

from django_cfg.backup import signals

_NOTIFIED = (
    signals.backup_succeeded, signals.backup_failed, signals.backup_overdue, signals.slots_missed,
    signals.prune_succeeded, signals.prune_failed, signals.verification_succeeded, signals.verification_failed,
    signals.schedule_succeeded, signals.schedule_failed,
)  # fmt: skip


class BackupAppConfig(AppConfig):
    name = "django_cfg.backup"
    label = "django_cfg_backup"
    verbose_name = "Backups"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        register(check_backup, "backup")  # not "database": those run only when databases are named
        for signal in _NOTIFIED:
            signal.connect(notify, dispatch_uid="django_cfg_backup.notify")


def check_backup(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """All checks of settings.BACKUP."""
    from django_cfg.backup.checks import check_backup

    return check_backup()


def notify(signal: Signal, **facts: Any) -> None:
    """Notify of what *signal* says, as settings.BACKUP wants it."""
    from django_cfg.backup.services.monitoring.notifications import receive

    receive(signal, **facts)
