"""Database backups for Django, configured in a few typed lines and proved by restoring them."""

from django_cfg import checks as _checks  # noqa: F401 (registers the check of an app that is not installed)
from django_cfg.backup.config.backup import (
    BackupConfig,
    BackupDatabaseConfig,
    BackupRetentionConfig,
    BackupStorageConfig,
)
from django_cfg.backup.config.schedule import BackupScheduleConfig, BackupVerificationConfig
from django_cfg.config import DjangoConfig
from django_cfg.database_config import DatabaseConfig
from django_cfg.not_provided import NAMES as _NOT_PROVIDED
from django_cfg.not_provided import refusal_of_import as _refusal_of_import

__all__ = [
    "BackupConfig",
    "BackupDatabaseConfig",
    "BackupRetentionConfig",
    "BackupScheduleConfig",
    "BackupStorageConfig",
    "BackupVerificationConfig",
    "DatabaseConfig",
    "DjangoConfig",
]


def __getattr__(name: str) -> object:
    if name in _NOT_PROVIDED:
        raise ImportError(_refusal_of_import(name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
