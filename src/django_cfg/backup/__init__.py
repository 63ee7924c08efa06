"""Backups of a Django project's databases: made, proved and brought back.

The Python API is the services the commands call, resolved when first used, so that naming this
package in INSTALLED_APPS or importing its configuration loads neither models nor engines.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_cfg.backup.pipeline.encryption.decryption_keys import DecryptionKey
    from django_cfg.backup.services.adoption.adopt import adopt_backup
    from django_cfg.backup.services.catalog.places import list_backups
    from django_cfg.backup.services.creation.create import create_backup
    from django_cfg.backup.services.restore.restore import restore_backup
    from django_cfg.backup.services.retention.prune import prune_backups
    from django_cfg.backup.services.verification.drill import drill_backup
    from django_cfg.backup.services.verification.verify import verify_backup

__all__ = [
    "DecryptionKey",
    "adopt_backup",
    "create_backup",
    "drill_backup",
    "list_backups",
    "prune_backups",
    "restore_backup",
    "verify_backup",
]

_HOMES = {
    "DecryptionKey": "pipeline.encryption.decryption_keys",
    "adopt_backup": "services.adoption.adopt",
    "create_backup": "services.creation.create",
    "drill_backup": "services.verification.drill",
    "list_backups": "services.catalog.places",
    "prune_backups": "services.retention.prune",
    "restore_backup": "services.restore.restore",
    "verify_backup": "services.verification.verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
