"""Backups of a Django project's databases: made, proved and brought back.

The Python API, which docs/api.md describes, is resolved when it is first used, except its errors, so that naming this
package in INSTALLED_APPS or importing its configuration loads neither models nor engines.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from django_cfg.backup.errors import (
    AllFailed,
    AlreadyRunning,
    BackupError,
    BackupNotFound,
    Cancelled,
    ClockSkew,
    ConfigurationError,
    CopyFailed,
    DatabaseUnavailable,
    Declined,
    DumpFailed,
    EncryptionError,
    HistoryUnavailable,
    KeyMissing,
    ManifestError,
    NameTaken,
    NotEnoughSpace,
    ObjectLocked,
    QueueUnavailable,
    RestoreFailed,
    RestoreRefused,
    RestoreUnderWay,
    RunNotFound,
    SomeFailed,
    StorageError,
    TablesDiffer,
    ToolFailed,
    ToolNotFound,
    ToolTimedOut,
    ToolTooOld,
    Unhealthy,
    UnsupportedEngine,
    UsageError,
    VerificationFailed,
)

if TYPE_CHECKING:
    from django_cfg.backup.engines.base import Finding, Level
    from django_cfg.backup.manifest import (
        Adoption,
        Archive,
        Characters,
        DatabaseGrant,
        DatabaseProperties,
        DatabaseSetting,
        Encryption,
        EngineFacts,
        Manifest,
        Proof,
        Source,
        Table,
        TableEvidence,
    )
    from django_cfg.backup.pipeline.encryption.decryption_keys import NO_KEY, DecryptionKey
    from django_cfg.backup.policy.retention import Decision
    from django_cfg.backup.python_api import (
        backup_status,
        check_backups,
        copy_backup,
        create_backup,
        create_backups,
        delete_backup,
        download_backup,
        get_backup,
        pin_backup,
        unpin_backup,
    )
    from django_cfg.backup.services.adoption.adopt import AdoptionResult, adopt_backup
    from django_cfg.backup.services.catalog.catalog import Damaged
    from django_cfg.backup.services.catalog.places import list_backups
    from django_cfg.backup.services.copies.copy import CopyOutcome
    from django_cfg.backup.services.monitoring.status import PlaceStatus, SourceStatus, StatusReport
    from django_cfg.backup.services.project.progress import SILENT, Progress
    from django_cfg.backup.services.restore.kept_data import KeptData, Unreachable
    from django_cfg.backup.services.restore.restore import RestoreReport, restore_backup
    from django_cfg.backup.services.retention.prune import FailedOutcome, KeptOutcome, PruneReport, prune_backups
    from django_cfg.backup.services.verification.drill import drill_backup
    from django_cfg.backup.services.verification.verify import verify_backup

__all__ = [
    "NO_KEY",
    "SILENT",
    "Adoption",
    "AdoptionResult",
    "AllFailed",
    "AlreadyRunning",
    "Archive",
    "BackupError",
    "BackupNotFound",
    "Cancelled",
    "Characters",
    "ClockSkew",
    "ConfigurationError",
    "CopyFailed",
    "CopyOutcome",
    "Damaged",
    "DatabaseGrant",
    "DatabaseProperties",
    "DatabaseSetting",
    "DatabaseUnavailable",
    "Decision",
    "Declined",
    "DecryptionKey",
    "DumpFailed",
    "Encryption",
    "EncryptionError",
    "EngineFacts",
    "FailedOutcome",
    "Finding",
    "HistoryUnavailable",
    "KeptData",
    "KeptOutcome",
    "KeyMissing",
    "Level",
    "Manifest",
    "ManifestError",
    "NameTaken",
    "NotEnoughSpace",
    "ObjectLocked",
    "PlaceStatus",
    "Progress",
    "Proof",
    "PruneReport",
    "QueueUnavailable",
    "RestoreFailed",
    "RestoreRefused",
    "RestoreReport",
    "RestoreUnderWay",
    "RunNotFound",
    "SomeFailed",
    "Source",
    "SourceStatus",
    "StatusReport",
    "StorageError",
    "Table",
    "TableEvidence",
    "TablesDiffer",
    "ToolFailed",
    "ToolNotFound",
    "ToolTimedOut",
    "ToolTooOld",
    "Unhealthy",
    "Unreachable",
    "UnsupportedEngine",
    "UsageError",
    "VerificationFailed",
    "adopt_backup",
    "backup_status",
    "check_backups",
    "copy_backup",
    "create_backup",
    "create_backups",
    "delete_backup",
    "download_backup",
    "drill_backup",
    "get_backup",
    "list_backups",
    "pin_backup",
    "prune_backups",
    "restore_backup",
    "unpin_backup",
    "verify_backup",
]

_HOMES = {
    "NO_KEY": "pipeline.encryption.decryption_keys",
    "SILENT": "services.project.progress",
    "Adoption": "manifest",
    "AdoptionResult": "services.adoption.adopt",
    "Archive": "manifest",
    "Characters": "manifest",
    "CopyOutcome": "services.copies.copy",
    "Damaged": "services.catalog.catalog",
    "DatabaseGrant": "manifest",
    "DatabaseProperties": "manifest",
    "DatabaseSetting": "manifest",
    "Decision": "policy.retention",
    "DecryptionKey": "pipeline.encryption.decryption_keys",
    "Encryption": "manifest",
    "EngineFacts": "manifest",
    "FailedOutcome": "services.retention.prune",
    "Finding": "engines.base",
    "KeptData": "services.restore.kept_data",
    "KeptOutcome": "services.retention.prune",
    "Level": "engines.base",
    "Manifest": "manifest",
    "PlaceStatus": "services.monitoring.status",
    "Progress": "services.project.progress",
    "Proof": "manifest",
    "PruneReport": "services.retention.prune",
    "RestoreReport": "services.restore.restore",
    "Source": "manifest",
    "SourceStatus": "services.monitoring.status",
    "StatusReport": "services.monitoring.status",
    "Table": "manifest",
    "TableEvidence": "manifest",
    "Unreachable": "services.restore.kept_data",
    "adopt_backup": "services.adoption.adopt",
    "backup_status": "python_api",
    "check_backups": "python_api",
    "copy_backup": "python_api",
    "create_backup": "python_api",
    "create_backups": "python_api",
    "delete_backup": "python_api",
    "download_backup": "python_api",
    "drill_backup": "services.verification.drill",
    "get_backup": "python_api",
    "list_backups": "services.catalog.places",
    "pin_backup": "python_api",
    "prune_backups": "services.retention.prune",
    "restore_backup": "services.restore.restore",
    "unpin_backup": "python_api",
    "verify_backup": "services.verification.verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
