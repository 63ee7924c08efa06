"""The bookshop's settings: all that differs from a plain project."""

from pathlib import Path

from django_cfg import (
    BackupConfig,
    BackupDatabaseConfig,
    BackupRetentionConfig,
    BackupScheduleConfig,
    BackupStorageConfig,
    DjangoConfig,
)


class BookshopConfig(DjangoConfig):
    project_name: str = "bookshop"
    base_dir: Path = Path("..")
    databases: dict[str, str] = {"default": "${DATABASE_URL:sqlite:///bookshop.sqlite3}"}
    installed_apps: list[str] = ["bookshop"]
    admin_emails: list[str] = ["owner@bookshop.example"]
    time_zone: str = "Europe/Dublin"
    backup: BackupConfig = BackupConfig(
        enabled=True,
        storage=BackupStorageConfig(backend="local", local_path="backups/"),
        schedule=BackupScheduleConfig(enabled=False),
        retention=BackupRetentionConfig(keep_daily=3, keep_weekly=0, keep_monthly=0),
        databases=[BackupDatabaseConfig(alias="default", exclude_tables=["django_session"])],
    )
