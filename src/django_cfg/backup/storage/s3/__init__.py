"""A bucket of any S3-compatible service, by obstore (the extra ``[s3]``)."""

from django_cfg.backup.storage.s3.storage import S3Storage

__all__ = ["S3Storage"]
