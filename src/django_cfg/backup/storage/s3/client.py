"""obstore's clients for a bucket of S3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Unpack

from obstore.store import S3Store

from django_cfg.backup.errors import StorageError
from django_cfg.backup.storage.base import Immutability
from django_cfg.backup.storage.object_store.client import Client, SentWith
from django_cfg.backup.storage.object_store.errors import REFUSED
from django_cfg.backup.storage.s3.addressing import is_virtual_hosted
from django_cfg.backup.storage.s3.bucket import Bucket
from django_cfg.backup.storage.s3.errors import storage_error
from django_cfg.backup.storage.s3.object_lock import lock_object, read_immutability, require_lock
from django_cfg.backup.storage.s3.signed_list import list_pages

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Credential


class S3Client(Client):
    """The clients for *bucket*."""

    def __init__(self, bucket: Bucket) -> None:
        super().__init__(bucket)
        self.bucket = bucket
        self._can_lock = False

    def _open_for_parts(self, retries: RetryConfig, **timeouts: Unpack[ClientConfig]) -> S3Store:
        upload = self.bucket.upload
        return self._open(retries, upload.config, upload.headers, **timeouts)

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
        return list_pages(self.bucket, self._url, self._region, prefix)

    def sent_with(self, key: str) -> SentWith:
        upload = self.bucket.upload
        return {"attributes": upload.attributes(key) or None, "tags": upload.tags or None}

    def require_lock(self, key: str) -> None:
        """Make sure, the first time only, that the bucket can lock objects, if *key* is to be locked.

        A service that does not know the request for a lock may take it for the object itself, and replace that.

        :raises StorageError: it cannot, or refuses to say.
        """
        if self.bucket.upload.is_locked(key) and not self._can_lock:
            require_lock(self.bucket, read_immutability(self.bucket, self._url, self._region))
            self._can_lock = True

    def lock(self, key: str) -> None:
        """Lock the object *key* if the configuration says so."""
        if self.bucket.upload.is_locked(key):
            self.require_lock(key)
            lock_object(self.bucket, self._url, self._region, f"{self.bucket.prefix}{key}")

    def immutability(self) -> Immutability | None:
        """Return what the bucket says of versions and locks; None: only obstore has the keys to ask with."""
        return None if self.bucket.uses_role else read_immutability(self.bucket, self._url, self._region)

    @property
    def _url(self) -> str:
        """The bucket's own URL."""
        address = self.bucket.address(self._region, virtual_hosted=self._is_virtual_hosted)
        return address if self._is_virtual_hosted else f"{address}/{self.bucket.name}"

    def _open(
        self,
        retries: RetryConfig,
        more: S3Config | None = None,
        headers: dict[str, str] | None = None,
        **timeouts: Unpack[ClientConfig],
    ) -> S3Store:
        """Everything is set: obstore would take the rest from environment variables meant for other programs.

        With a role it takes the keys from there: AWS's variables, a web identity, a container's role, an instance's.
        """
        address = self.bucket.address(self._region, virtual_hosted=self._is_virtual_hosted)
        # Buckets with object lock insist on it; other services have been seen to stumble over it.
        is_wanted = self.bucket.is_amazons or self.bucket.upload.lock_days
        checksum: S3Config = {"checksum_algorithm": "SHA256"} if is_wanted else {}
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
                    **(more or {}),
                },
                client_options={
                    "allow_http": address.startswith("http:"),
                    **({"default_headers": headers} if headers else {}),
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
