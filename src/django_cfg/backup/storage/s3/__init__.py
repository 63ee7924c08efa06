"""A bucket of any S3-compatible service, by obstore (the extra ``[s3]``)."""

from django_cfg.backup.storage.object_store.storage import S3Storage

__all__ = ["S3Storage"]
