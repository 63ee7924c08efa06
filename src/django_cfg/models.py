"""The configuration models, under the name by which configurations of django-cfg import them. No database models."""

from django_cfg import (
    BackupConfig,
    BackupDatabaseConfig,
    BackupRetentionConfig,
    BackupScheduleConfig,
    BackupStorageConfig,
    BackupVerificationConfig,
    DatabaseConfig,
    DjangoConfig,
)

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
