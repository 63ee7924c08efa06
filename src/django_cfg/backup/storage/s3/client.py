"""obstore's client for a bucket: how long it waits, and how often it tries again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Unpack

from obstore.store import S3Store

from django_cfg.backup.storage.base import Immutability
from django_cfg.backup.storage.s3.addressing import is_virtual_hosted
from django_cfg.backup.storage.s3.bucket import Bucket
from django_cfg.backup.storage.s3.errors import REFUSED, storage_error
from django_cfg.backup.storage.s3.object_lock import lock_object, read_immutability, require_lock
from django_cfg.backup.storage.s3.signed_list import list_pages

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Credential

_CONNECT = timedelta(seconds=10)
# An endpoint that does not answer is reported within a minute: no attempt begins after `retry_timeout`.
_REQUEST = timedelta(seconds=20)
_REQUEST_RETRIES: RetryConfig = {"max_retries": 6, "retry_timeout": timedelta(seconds=30)}
# A part has to get through a slow line in one piece: 8 MiB at a quarter of a megabit a second. Signatures hold for
# 15 minutes.
_PART = timedelta(seconds=300)
# A download may take days, but no minute without a byte.
_STREAM, _SILENCE = timedelta(days=7), timedelta(seconds=60)
_PART_RETRIES: RetryConfig = {"max_retries": 8, "retry_timeout": timedelta(seconds=500)}


class Client:
    """Opened at its first use: what is only configured connects nowhere."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self._is_seen = False
        self._can_lock = False

    @cached_property
    def requests(self) -> S3Store:
        """For everything small."""
        return self._open(_REQUEST_RETRIES, timeout=_REQUEST)

    @cached_property
    def parts(self) -> S3Store:
        """For the parts of an upload."""
        upload = self.bucket.upload
        return self._open(_PART_RETRIES, upload.config, default_headers=upload.headers, timeout=_PART)

    @cached_property
    def streams(self) -> S3Store:
        """For reading something large."""
        return self._open(_REQUEST_RETRIES, timeout=_STREAM, read_timeout=_SILENCE)

    @cached_property
    def _region(self) -> str:
        return self.bucket.actual_region()

    @cached_property
    def _is_virtual_hosted(self) -> bool:
        return is_virtual_hosted(self.bucket, self._region)

    def list_signed(self, prefix: str) -> Iterator[Sequence[ObjectMeta]]:
        """Return pages of the objects below *prefix*, also where some of the keys are no paths."""
        return list_pages(self.bucket, self._url, self._region, prefix)

    def require_lock(self) -> None:
        """Make sure, the first time only, that the bucket can lock objects.

        A service that does not know the request for a lock may take it for the object itself, and replace that.

        :raises StorageError: it cannot, or refuses to say.
        """
        if not self._can_lock:
            require_lock(self.bucket, read_immutability(self.bucket, self._url, self._region))
            self._can_lock = True

    def lock(self, path: str) -> None:
        """Lock the object *path* as the configuration says."""
        self.require_lock()
        lock_object(self.bucket, self._url, self._region, path)

    def immutability(self) -> Immutability | None:
        """Return what the bucket says of versions and locks; None: only obstore has the keys to ask with."""
        return None if self.bucket.uses_role else read_immutability(self.bucket, self._url, self._region)

    @property
    def _url(self) -> str:
        """The bucket's own URL."""
        address = self.bucket.address(self._region, virtual_hosted=self._is_virtual_hosted)
        return address if self._is_virtual_hosted else f"{address}/{self.bucket.name}"

    def once(self, look: Callable[[], None]) -> None:
        """Make sure of the bucket, the first time only; *look* raises when there is none."""
        if not self._is_seen:
            look()
            self._is_seen = True

    def _open(self, retries: RetryConfig, more: S3Config | None = None, **options: Unpack[ClientConfig]) -> S3Store:
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
                    "connect_timeout": _CONNECT,
                    **options,
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
