"""A bucket of Google Cloud Storage, by obstore (the extra ``[gcs]``)."""

from django_cfg.backup.storage.gcs.storage import GCSStorage

__all__ = ["GCSStorage"]
