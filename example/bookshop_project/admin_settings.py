"""The bookshop as `make demo-admin` shows it: backed up every night, drilled every Sunday, kept for months."""

from bookshop_project.config import BookshopConfig
from django_cfg import (
    BackupConfig,
    BackupDatabaseConfig,
    BackupRetentionConfig,
    BackupScheduleConfig,
    BackupStorageConfig,
    BackupVerificationConfig,
)


class AdminConfig(BookshopConfig):
    allowed_hosts: list[str] = ["localhost", "127.0.0.1"]
    databases: dict[str, str] = {"default": "sqlite:///bookshop.sqlite3", "stock": "sqlite:///stock.sqlite3"}
    backup: BackupConfig = BackupConfig(
        enabled=True,
        storage=BackupStorageConfig(backend="local", local_path="backups/"),
        schedule=BackupScheduleConfig(cron="0 2 * * *"),
        retention=BackupRetentionConfig(keep_daily=14, keep_weekly=8, keep_monthly=6, max_total_size_mb=200),
        verification=BackupVerificationConfig(enabled=True),
        databases=[
            BackupDatabaseConfig(alias="default", exclude_tables=["django_session"]),
            BackupDatabaseConfig(alias="stock", schedule_override=BackupScheduleConfig(cron="0 */4 * * *")),
        ],
    )


globals().update(AdminConfig().get_all_settings())
