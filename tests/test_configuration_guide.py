"""Every code block of the configuration guide, executed unchanged.

The guide's pages lost their indentation; here it is restored. Where the guide elides with ``...``, the
test fills in, and nothing else is changed.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from cronsim import CronSim

import django_cfg
from django_cfg import (
    BackupConfig,
    BackupDatabaseConfig,
    BackupRetentionConfig,
    BackupScheduleConfig,
    BackupStorageConfig,
    DjangoConfig,
)
from tests.support.environment_mode import clear_mode_variables

BACKUP_CONFIG = """
from django_cfg import (
    DjangoConfig,
    BackupConfig,
    BackupStorageConfig,
    BackupScheduleConfig,
    BackupRetentionConfig,
)

class MyConfig(DjangoConfig):
    backup: BackupConfig = BackupConfig(
        # Enable/disable the entire module
        enabled=True,

        # Storage configuration
        storage=BackupStorageConfig(...),

        # Schedule configuration
        schedule=BackupScheduleConfig(...),

        # Retention policy
        retention=BackupRetentionConfig(...),

        # Per-database configurations (optional)
        databases=[...],

        # Compression algorithm
        compression="gzip", # gzip | bz2 | xz | none

        # Optional encryption key (GPG-compatible)
        encryption_key=None,

        # Notifications
        notify_on_success=False,
        notify_on_failure=True,

        # Filename template
        filename_template="{database}_{timestamp}_{env}",
    )
"""

LOCAL_STORAGE = """
storage=BackupStorageConfig(
    backend="local",
    local_path="backups/", # Relative to BASE_DIR or absolute
)
"""

S3_STORAGE = """
storage=BackupStorageConfig(
    backend="s3",
    s3_bucket="my-backups",
    s3_endpoint_url="https://xxx.r2.cloudflarestorage.com", # For R2/MinIO
    s3_access_key="${AWS_ACCESS_KEY_ID}",
    s3_secret_key="${AWS_SECRET_ACCESS_KEY}",
    s3_region="auto", # "auto" for R2, or specific region
    s3_prefix="db-backups/", # Key prefix in bucket
)
"""

CRON_SCHEDULE = """
schedule=BackupScheduleConfig(
    enabled=True,
    cron="0 2 * * *", # Daily at 2 AM
    queue="default", # RQ queue name
)
"""

SIMPLE_INTERVAL = """
schedule=BackupScheduleConfig(
    enabled=True,
    interval_hours=6, # Every 6 hours
)
"""

DAILY_TIME = """
from datetime import time

schedule=BackupScheduleConfig(
    enabled=True,
    daily_time=time(2, 0), # Daily at 02:00
)
"""

RETENTION = """
retention=BackupRetentionConfig(
    enabled=True,
    keep_daily=7, # Keep 7 daily backups
    keep_weekly=4, # Keep 4 weekly backups
    keep_monthly=3, # Keep 3 monthly backups
    max_total_size_mb=None, # Optional size limit
)
"""

DATABASES = """
from django_cfg import BackupDatabaseConfig

backup=BackupConfig(
    enabled=True,
    databases=[
        # Default database with table exclusions
        BackupDatabaseConfig(
            alias="default",
            enabled=True,
            exclude_tables=["django_session", "django_cache"],
        ),
        # Analytics database with custom schedule
        BackupDatabaseConfig(
            alias="analytics",
            enabled=True,
            schedule_override=BackupScheduleConfig(
                cron="0 4 * * *", # Different time
            ),
        ),
        # Logs database - skip backup
        BackupDatabaseConfig(
            alias="logs",
            enabled=False,
        ),
    ],
)
"""

DEVELOPMENT = """
backup=BackupConfig(
    enabled=True,
    storage=BackupStorageConfig(
        backend="local",
        local_path="backups/",
    ),
    schedule=BackupScheduleConfig(
        enabled=False, # Manual only in development
    ),
    retention=BackupRetentionConfig(
        keep_daily=3,
        keep_weekly=0,
        keep_monthly=0,
    ),
    notify_on_failure=False,
)
"""

PRODUCTION = """
backup=BackupConfig(
    enabled=True,
    storage=BackupStorageConfig(
        backend="s3",
        s3_bucket="company-db-backups",
        s3_endpoint_url="https://xxx.r2.cloudflarestorage.com",
        s3_access_key="${R2_ACCESS_KEY}",
        s3_secret_key="${R2_SECRET_KEY}",
        s3_region="auto",
        s3_prefix="production/",
    ),
    schedule=BackupScheduleConfig(
        cron="0 */4 * * *", # Every 4 hours
        queue="backups",
    ),
    retention=BackupRetentionConfig(
        keep_daily=14,
        keep_weekly=8,
        keep_monthly=12,
        max_total_size_mb=50000, # 50 GB limit
    ),
    compression="xz", # Best compression
    notify_on_success=True,
    notify_on_failure=True,
)
"""

MULTI_DATABASE = """
backup=BackupConfig(
    enabled=True,
    storage=BackupStorageConfig(backend="s3", ...),
    schedule=BackupScheduleConfig(cron="0 2 * * *"),
    databases=[
        BackupDatabaseConfig(
            alias="default",
            exclude_tables=["django_session"],
        ),
        BackupDatabaseConfig(
            alias="analytics",
            schedule_override=BackupScheduleConfig(
                cron="0 6 * * *", # Later time (less critical)
            ),
        ),
        BackupDatabaseConfig(
            alias="cache_db",
            enabled=False, # Don't backup cache database
        ),
    ],
)
"""

ENVIRONMENT = """
storage=BackupStorageConfig(
    backend="s3",
    s3_bucket="${BACKUP_S3_BUCKET}",
    s3_access_key="${BACKUP_S3_ACCESS_KEY}",
    s3_secret_key="${BACKUP_S3_SECRET_KEY}",
)
"""

DOTENV = """
BACKUP_S3_BUCKET=my-backups
BACKUP_S3_ACCESS_KEY=AKIAIOSFODNN7EXAMPLE
BACKUP_S3_SECRET_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
"""


@pytest.fixture(autouse=True)
def _no_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    clear_mode_variables(monkeypatch)


def run(block: str, **elided: str) -> dict[str, Any]:
    """Execute *block* with django_cfg's public names at hand; the names it defines.

    :param elided: the text to insert for the ``...`` after a name (a model, or ``databases``).
    """
    for before, filled in elided.items():
        assert block.count(f"{before}(...)") + block.count(f"{before}=[...]") == 1, before
        block = block.replace(f"{before}(...)", f"{before}({filled})")
        block = block.replace(f"{before}=[...]", f"{before}=[{filled}]")
    assert "..." not in block
    names = {name: getattr(django_cfg, name) for name in django_cfg.__all__} | {"__name__": __name__}
    exec(block, names)  # noqa: S102
    return names


class TestBlocks:
    def test_backup_config(self) -> None:
        names = run(
            BACKUP_CONFIG,
            BackupStorageConfig='local_path="here/"',
            BackupScheduleConfig="interval_hours=12",
            BackupRetentionConfig="keep_daily=30",
            databases='__import__("django_cfg").BackupDatabaseConfig(alias="default")',
        )
        config = names["MyConfig"]()
        assert isinstance(config, DjangoConfig)
        assert config.get_all_settings()["BACKUP"] == BackupConfig(
            enabled=True,
            storage=BackupStorageConfig(local_path="here/"),
            schedule=BackupScheduleConfig(interval_hours=12),
            retention=BackupRetentionConfig(keep_daily=30),
            databases=[BackupDatabaseConfig(alias="default")],
        )

    def test_local_storage(self) -> None:
        assert run(LOCAL_STORAGE)["storage"] == BackupStorageConfig()

    def test_s3_storage(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-id")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-key")
        storage = run(S3_STORAGE)["storage"]
        assert storage.model_dump() == {
            "backend": "s3",
            "local_path": "backups/",
            "s3_bucket": "my-backups",
            "s3_endpoint_url": "https://xxx.r2.cloudflarestorage.com",
            "s3_access_key": "the-id",
            "s3_secret_key": "the-key",
            "s3_session_token": None,  # ours
            "s3_use_role": False,  # ours
            "s3_addressing": "auto",  # ours
            "s3_storage_class": None,  # ours
            "s3_sse": None,  # ours
            "s3_sse_kms_key_id": None,  # ours
            "s3_extra_headers": {},  # ours
            "s3_object_lock_days": None,  # ours
            "s3_object_lock_mode": "GOVERNANCE",  # ours
            "s3_region": "auto",
            "s3_prefix": "db-backups/",  # ours
        }

    def test_cron_schedule(self) -> None:
        assert run(CRON_SCHEDULE)["schedule"] == BackupScheduleConfig()

    def test_simple_interval(self) -> None:
        schedule = run(SIMPLE_INTERVAL)["schedule"]
        assert (schedule.interval_hours, schedule.cron, schedule.daily_time) == (6, None, None)

    def test_daily_time(self) -> None:
        schedule = run(DAILY_TIME)["schedule"]
        assert (schedule.daily_time, schedule.cron, schedule.interval_hours) == (time(2, 0), None, None)

    def test_retention(self) -> None:
        assert run(RETENTION)["retention"] == BackupRetentionConfig()

    def test_databases(self) -> None:
        default, analytics, logs = run(DATABASES)["backup"].databases
        assert default.exclude_tables == ["django_session", "django_cache"]
        assert analytics.schedule_override == BackupScheduleConfig(cron="0 4 * * *")
        assert (default.enabled, analytics.enabled, logs.enabled) == (True, True, False)

    def test_environment_variables(self) -> None:
        Path(".env").write_text(DOTENV)
        storage = run(ENVIRONMENT)["storage"]
        assert storage.s3_bucket == "my-backups"
        assert storage.s3_access_key == "AKIAIOSFODNN7EXAMPLE"
        assert storage.s3_secret_key == "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


class TestCompleteExamples:
    def test_development(self) -> None:
        backup = run(DEVELOPMENT)["backup"]
        assert backup.enabled
        assert not backup.schedule.enabled
        retention = backup.retention
        assert (retention.keep_daily, retention.keep_weekly, retention.keep_monthly) == (3, 0, 0)
        assert not backup.notify_on_failure
        assert backup.storage == BackupStorageConfig()

    def test_production(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("R2_ACCESS_KEY", "the-id")
        monkeypatch.setenv("R2_SECRET_KEY", "the-key")
        backup = run(PRODUCTION)["backup"]
        storage, retention = backup.storage, backup.retention
        assert (storage.s3_access_key, storage.s3_secret_key) == ("the-id", "the-key")
        assert (storage.s3_bucket, storage.s3_prefix) == ("company-db-backups", "production/")
        assert (backup.schedule.cron, backup.schedule.queue) == ("0 */4 * * *", "backups")
        assert (retention.keep_daily, retention.keep_weekly, retention.keep_monthly) == (14, 8, 12)
        assert retention.max_total_size_mb == 50_000
        assert backup.compression == "xz"
        assert backup.notify_on_success
        assert backup.notify_on_failure

    def test_production_without_its_variables_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("R2_ACCESS_KEY", raising=False)
        with pytest.raises(ValueError, match="R2_ACCESS_KEY"):
            run(PRODUCTION)

    def test_multi_database(self) -> None:
        filled = MULTI_DATABASE.replace(
            'backend="s3", ...', 'backend="s3", s3_bucket="b", s3_access_key="k", s3_secret_key="s"'
        )
        backup = run(filled)["backup"]
        assert [(database.alias, database.enabled) for database in backup.databases] == [
            ("default", True),
            ("analytics", True),
            ("cache_db", False),
        ]
        assert backup.for_database("analytics").schedule_override == BackupScheduleConfig(cron="0 6 * * *")
        assert backup.for_database("default").exclude_tables == ["django_session"]

    @pytest.mark.parametrize("block", [DEVELOPMENT, DATABASES])
    def test_blocks_work_in_a_class_body(self, block: str) -> None:
        """As the guide means them: `backup=...` is a parameter of a DjangoConfig."""
        backup = run(block)["backup"]
        assert DjangoConfig(backup=backup).get_all_settings()["BACKUP"] is backup


class TestTables:
    @pytest.mark.parametrize(
        ("pattern", "first", "gap"),
        [
            ("0 2 * * *", datetime(2025, 1, 15, 2, tzinfo=UTC), timedelta(days=1)),
            ("0 */6 * * *", datetime(2025, 1, 15, 6, tzinfo=UTC), timedelta(hours=6)),
            ("0 2 * * 0", datetime(2025, 1, 19, 2, tzinfo=UTC), timedelta(weeks=1)),
            ("0 2 1 * *", datetime(2025, 2, 1, 2, tzinfo=UTC), timedelta(days=28)),
            ("*/30 * * * *", datetime(2025, 1, 15, 0, 30, tzinfo=UTC), timedelta(minutes=30)),
        ],
    )
    def test_common_cron_patterns(self, pattern: str, first: datetime, gap: timedelta) -> None:
        schedule = BackupScheduleConfig(cron=pattern)
        assert schedule.cron == pattern
        slots = CronSim(schedule.cron, datetime(2025, 1, 15, tzinfo=UTC))
        assert next(slots) == first
        assert next(slots) == first + gap

    def test_filename_template_variables(self) -> None:
        template = BackupConfig().filename_template
        name = template.format(database="default", timestamp="20250115_020000", env="production")
        assert name == "default_20250115_020000_production"
