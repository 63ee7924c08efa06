"""A bucket of Google Cloud Storage, or the part of it below a prefix."""

from __future__ import annotations

from django_cfg.backup.storage.gcs.bucket import GCSBucket
from django_cfg.backup.storage.gcs.client import GCSClient
from django_cfg.backup.storage.object_store.storage import ObjectStorage


class GCSStorage(ObjectStorage):
    """Objects below the prefix of *bucket*."""

    def __init__(self, bucket: GCSBucket) -> None:
        super().__init__(GCSClient(bucket))
