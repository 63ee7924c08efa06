"""Database backups for Django, configured in a few typed lines and proved by restoring them."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

from django_cfg import checks as _checks  # noqa: F401 (registers the check of an app that is not installed)
from django_cfg.backup.config.api import BackupApiConfig
from django_cfg.backup.config.backup import BackupConfig, BackupCopyConfig, BackupDatabaseConfig, BackupRetentionConfig
from django_cfg.backup.config.schedule import BackupScheduleConfig, BackupVerificationConfig
from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.config.webhook import BackupWebhookConfig
from django_cfg.not_provided import NAMES as _NOT_PROVIDED
from django_cfg.not_provided import refusal_of_import as _refusal_of_import

if _TYPE_CHECKING:
    from django_cfg.config import DjangoConfig
    from django_cfg.database_config import DatabaseConfig

__all__ = [
    "BackupApiConfig",
    "BackupConfig",
    "BackupCopyConfig",
    "BackupDatabaseConfig",
    "BackupRetentionConfig",
    "BackupScheduleConfig",
    "BackupStorageConfig",
    "BackupVerificationConfig",
    "BackupWebhookConfig",
    "DatabaseConfig",
    "DjangoConfig",
]


# Imported when first used: most projects write their settings without them.
_HOMES = {"DatabaseConfig": "django_cfg.database_config", "DjangoConfig": "django_cfg.config"}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(_import_module(_HOMES[name]), name)
    if name in _NOT_PROVIDED:
        raise ImportError(_refusal_of_import(name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
