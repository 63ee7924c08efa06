"""Backups of a Django project's databases: made, proved and brought back.

The Python API is the services the commands call, resolved when first used, so that naming this
package in INSTALLED_APPS or importing its configuration loads neither models nor engines.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_cfg.backup.pipeline.encryption.decryption_keys import Unlock
    from django_cfg.backup.services.catalog import list_backups
    from django_cfg.backup.services.create import create_backup
    from django_cfg.backup.services.drill import drill_backup
    from django_cfg.backup.services.prune import prune_backups
    from django_cfg.backup.services.restore import restore_backup
    from django_cfg.backup.services.verify import verify_backup

__all__ = [
    "Unlock",
    "create_backup",
    "drill_backup",
    "list_backups",
    "prune_backups",
    "restore_backup",
    "verify_backup",
]

_HOMES = {
    "Unlock": "unlock",
    "create_backup": "create",
    "drill_backup": "drill",
    "list_backups": "catalog",
    "prune_backups": "prune",
    "restore_backup": "restore",
    "verify_backup": "verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.services.{_HOMES[name]}"), name)
