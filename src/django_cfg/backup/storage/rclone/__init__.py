"""Any remote of rclone, by its program (the extra ``[rclone]``)."""

from django_cfg.backup.storage.rclone.storage import RcloneStorage

__all__ = ["RcloneStorage"]
