"""A folder of this machine, or one that is mounted here."""

from django_cfg.backup.storage.local.storage import LocalStorage

__all__ = ["LocalStorage"]
