"""The bucket that a configuration names: where it answers, who we are there, how messages call it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from django_cfg.backup.config.storage import ROLE_VARIABLES, Addressing, BackupStorageConfig
from django_cfg.backup.errors import ConfigurationError, StorageError
from django_cfg.backup.process.redaction import redact
from django_cfg.backup.storage.object_store.place import parse_endpoint, parse_prefix
from django_cfg.backup.storage.s3.upload_settings import UploadSettings

AUTO = "auto"
_AWS = "https://s3.amazonaws.com"  # knows every bucket's region, but those of China
_LOOKUP_TIMEOUT = 20  # seconds
_REGION_IN_HOST = re.compile(r"(?:^|\.)s3[.-]([a-z]+-[a-z0-9-]+)\.")  # s3.eu-central-1.amazonaws.com


@dataclass(frozen=True)
class Bucket:
    """What BackupStorageConfig says of S3, checked and completed."""

    name: str
    endpoint: str | None  # None: AWS
    region: str
    prefix: str  # "" or ends with a slash
    addressing: Addressing
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    session_token: str | None = field(repr=False)
    uses_role: bool = False  # the client finds the keys
    upload: UploadSettings = field(default_factory=UploadSettings)  # what is sent with an object

    @classmethod
    def of(cls, config: BackupStorageConfig) -> Bucket:
        """
        :raises ConfigurationError: a parameter cannot be used.
        """
        bucket = config.s3_bucket or ""
        endpoint = _endpoint(config.s3_endpoint_url, bucket) if config.s3_endpoint_url else None
        return cls(
            name=bucket,
            endpoint=endpoint,
            region=_region_in_host(endpoint) if endpoint and config.s3_region == AUTO else config.s3_region,
            prefix=parse_prefix(config.s3_prefix, "s3_prefix"),
            addressing=config.s3_addressing,
            access_key=config.s3_access_key or "",
            secret_key=config.s3_secret_key or "",
            session_token=config.s3_session_token or None,
            uses_role=config.s3_use_role,
            upload=UploadSettings.of(config),
        )

    @property
    def location(self) -> str:
        where = f"s3://{self.name}/{self.prefix}"
        return f"{where} at {self.endpoint}" if self.endpoint else where

    @property
    def identity(self) -> str:
        """Equal for two spellings of one bucket's address; all names of Amazon's are one service."""
        if self.is_amazons:
            return f"s3 amazonaws.com {self.name}"
        parts = urlsplit(self.endpoint or "")
        host = (parts.hostname or "").removeprefix(f"{self.name}.".lower())
        port = parts.port or (80 if parts.scheme == "http" else 443)
        return f"s3 {host}:{port}{parts.path.rstrip('/')} {self.name}"

    @property
    def may_be_virtual_hosted(self) -> bool:
        """The host of the endpoint begins with the bucket's name: it may be the bucket's own, or the service's."""
        return (urlsplit(self.endpoint or "").hostname or "").startswith(f"{self.name}.".lower())

    @property
    def is_amazons(self) -> bool:
        host = urlsplit(self.endpoint or _AWS).hostname or ""
        return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))

    def address(self, region: str, *, virtual_hosted: bool) -> str:
        """The URL that requests go to."""
        if self.endpoint is not None:
            return self.endpoint
        domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        host = f"{self.name}." if virtual_hosted else ""
        return f"https://{host}s3.{region}.{domain}"

    def actual_region(self) -> str:
        """The region to sign for: AWS is asked where the bucket is when the configuration leaves it open."""
        return _look_up_region(self) if self.endpoint is None and self.region == AUTO else self.region

    def redact(self, text: str) -> str:
        """Return *text* without secrets."""
        return redact(text, (self.secret_key, self.session_token, self.access_key, *self._keys_of_the_environment()))

    def _keys_of_the_environment(self) -> list[str]:
        return [os.environ.get(name, "") for name in ROLE_VARIABLES] if self.uses_role else []


def _endpoint(url: str, bucket: str) -> str:
    endpoint = parse_endpoint(url, "s3_endpoint_url", default="Amazon S3", keys="s3_access_key and s3_secret_key")
    if urlsplit(endpoint).path.strip("/").split("/")[-1] == bucket:
        raise ConfigurationError(
            f"BackupStorageConfig.s3_endpoint_url ends in the bucket's name, {bucket!r}: leave it out there, "
            "s3_bucket names it."
        )
    return endpoint


def _region_in_host(endpoint: str) -> str:
    """Many services name the region in the endpoint; those that do not take ``auto``, or tell which they want."""
    found = _REGION_IN_HOST.search(urlsplit(endpoint).hostname or "")
    return found[1] if found else AUTO


class NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *args: object) -> None:
        """Return None: the redirect itself is the answer."""


def _look_up_region(bucket: Bucket) -> str:
    """AWS names a bucket's region to anyone, even in an answer that refuses the rest."""
    request = Request(f"{_AWS}/{bucket.name}", method="HEAD")  # noqa: S310  an https URL of our own
    try:
        with build_opener(NoRedirect).open(request, timeout=_LOOKUP_TIMEOUT) as answer:
            headers = answer.headers
    except HTTPError as error:
        error.close()
        headers = error.headers
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise StorageError(
            f"Could not ask Amazon S3 for the region of the bucket {bucket.name!r}: {reason}. Check the network, or "
            "set s3_region; for another service than Amazon's set s3_endpoint_url."
        ) from None
    if region := headers.get("x-amz-bucket-region"):
        return str(region)
    raise StorageError(
        f"Amazon S3 knows no bucket {bucket.name!r}: check s3_bucket; for another service than Amazon's set "
        "s3_endpoint_url, and in a separate part of AWS (China, GovCloud) s3_region."
    )
