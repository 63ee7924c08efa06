"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig


class BackupAppConfig(AppConfig):
    name = "django_cfg.backup"
    label = "django_cfg_backup"
    verbose_name = "Backups"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_cfg.backup import checks  # noqa: F401  registers them
        from django_cfg.backup.services.monitoring import notifications

        notifications.connect_receivers()
