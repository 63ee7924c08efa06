"""obstore's clients for a bucket of Google Cloud Storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from obstore.store import GCSStore

from django_cfg.backup.errors import StorageError
from django_cfg.backup.storage.gcs.bucket import GCSBucket
from django_cfg.backup.storage.gcs.errors import storage_error
from django_cfg.backup.storage.object_store.client import Client
from django_cfg.backup.storage.object_store.errors import REFUSED

if TYPE_CHECKING:
    from obstore.store import ClientConfig, GCSConfig, RetryConfig


class GCSClient(Client):
    """The clients for *bucket*."""

    def __init__(self, bucket: GCSBucket) -> None:
        super().__init__(bucket)
        self.bucket = bucket

    def storage_error(self, error: BaseException, doing: str) -> StorageError:
        return storage_error(error, doing, self.bucket)

    def _open(self, retries: RetryConfig, **timeouts: Unpack[ClientConfig]) -> GCSStore:
        """Without credentials of the configuration obstore looks for them as Google's own programs do."""
        config: GCSConfig = {"base_url": self.bucket.endpoint, "skip_signature": False}
        if self.bucket.credentials:
            config["service_account_key"] = self.bucket.credentials
        try:
            return GCSStore(
                self.bucket.name,
                config=config,
                client_options={"allow_http": self.bucket.endpoint.startswith("http:"), **timeouts},
                retry_config=retries,
            )
        except REFUSED as error:
            raise storage_error(error, "use the configuration", self.bucket) from None
