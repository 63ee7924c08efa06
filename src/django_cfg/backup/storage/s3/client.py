"""obstore's clients for a bucket of S3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Unpack

from obstore.store import S3Store

from django_cfg.backup.errors import StorageError
from django_cfg.backup.storage.object_store.client import Client
from django_cfg.backup.storage.object_store.errors import REFUSED
from django_cfg.backup.storage.s3.addressing import is_virtual_hosted
from django_cfg.backup.storage.s3.bucket import Bucket
from django_cfg.backup.storage.s3.errors import storage_error
from django_cfg.backup.storage.s3.signed_list import list_pages

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Credential


class S3Client(Client):
    """The clients for *bucket*."""

    def __init__(self, bucket: Bucket) -> None:
        super().__init__(bucket)
        self.bucket = bucket

    @cached_property
    def _region(self) -> str:
        return self.bucket.actual_region()

    @cached_property
    def _is_virtual_hosted(self) -> bool:
        return is_virtual_hosted(self.bucket, self._region)

    def storage_error(self, error: BaseException, doing: str) -> StorageError:
        return storage_error(error, doing, self.bucket)

    def pages_despite(self, error: BaseException, prefix: str) -> Iterator[Sequence[ObjectMeta]]:
        """Without obstore. With a role only obstore has the keys."""
        if self.bucket.uses_role:
            return super().pages_despite(error, prefix)
        address = self.bucket.address(self._region, virtual_hosted=self._is_virtual_hosted)
        url = address if self._is_virtual_hosted else f"{address}/{self.bucket.name}"
        return list_pages(self.bucket, url, self._region, prefix)

    def _open(self, retries: RetryConfig, **timeouts: Unpack[ClientConfig]) -> S3Store:
        """Everything is set: obstore would take the rest from environment variables meant for other programs.

        With a role it takes the keys from there: AWS's variables, a web identity, a container's role, an instance's.
        """
        address = self.bucket.address(self._region, virtual_hosted=self._is_virtual_hosted)
        # Amazon asks for it in buckets with object lock; other services have been seen to stumble over it.
        checksum: S3Config = {"checksum_algorithm": "SHA256"} if self.bucket.is_amazons else {}
        try:
            return S3Store(
                self.bucket.name,
                config={
                    "endpoint": address,
                    "aws_endpoint_url_s3": address,
                    "region": self._region,
                    "virtual_hosted_style_request": self._is_virtual_hosted,
                    "skip_signature": False,
                    "conditional_put": "etag",
                    "disable_bulk_delete": True,  # not every service has it
                    **checksum,
                },
                client_options={
                    "allow_http": address.startswith("http:"),
                    **timeouts,
                },
                retry_config=retries,
                credential_provider=None if self.bucket.uses_role else self._credential,
            )
        except REFUSED as error:
            raise storage_error(error, "use the configuration", self.bucket) from None

    def _credential(self) -> S3Credential:
        return {
            "access_key_id": self.bucket.access_key,
            "secret_access_key": self.bucket.secret_key,
            "token": self.bucket.session_token,
            "expires_at": None,
        }
