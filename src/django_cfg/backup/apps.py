"""The Django app. Its start imports models alone: checks and receivers load their modules when they are called."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, register
from django.db.models.signals import pre_migrate
from django.dispatch import Signal


class BackupAppConfig(AppConfig):
    name = "django_cfg.backup"
    label = "django_cfg_backup"
    verbose_name = "Backups"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_cfg.backup import signals

        register(_check, "backup")  # not "database": those run only when databases are named
        for signal in signals.NOTIFIED:
            signal.connect(_notify, dispatch_uid="django_cfg_backup.notify")
        for signal in signals.PUBLISHED:
            signal.connect(_publish, dispatch_uid="django_cfg_backup.publish")
        # sent for every app: that of this one makes it once per command
        pre_migrate.connect(_before_migrate, sender=self, dispatch_uid="django_cfg_backup.before_migrate")


def _check(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    from django_cfg.backup.checks import check_backup

    return check_backup()


def _notify(signal: Signal, **facts: Any) -> None:
    from django_cfg.backup.services.monitoring.notifications import RECEIVERS

    RECEIVERS[signal](**facts)


def _publish(signal: Signal, **facts: Any) -> None:
    from django_cfg.backup.services.monitoring.webhook_events import RECEIVERS

    RECEIVERS[signal](**facts)


def _before_migrate(**facts: Any) -> None:
    from django_cfg.backup.management.pre_migrate import receive_pre_migrate

    receive_pre_migrate(**facts)
