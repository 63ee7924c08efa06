"""A bucket of S3, or the part of it below a prefix."""

from __future__ import annotations

from django_cfg.backup.storage.base import Immutability
from django_cfg.backup.storage.object_store.storage import ObjectStorage
from django_cfg.backup.storage.s3.bucket import Bucket
from django_cfg.backup.storage.s3.client import S3Client


class S3Storage(ObjectStorage):
    """Objects below the prefix of *bucket*."""

    def __init__(self, bucket: Bucket) -> None:
        self._s3 = S3Client(bucket)
        super().__init__(self._s3)

    def immutability(self) -> Immutability | None:
        return self._s3.immutability()
