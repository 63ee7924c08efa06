"""Object lock: what the bucket says of it, and a retention for one object.

A lock is set when the object is complete. In the requests of an upload it could not be: with parts S3 refuses it.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from xml.etree import ElementTree as Xml

from django_cfg.backup.errors import StorageError
from django_cfg.backup.storage.base import Immutability
from django_cfg.backup.storage.object_store.errors import code_of
from django_cfg.backup.storage.s3.bucket import Bucket
from django_cfg.backup.storage.s3.errors import storage_error
from django_cfg.backup.storage.s3.signed_request import REFUSAL, parse_answer, send

_NO_LOCK = (
    "ObjectLockConfigurationNotFoundError",
    "NoSuchObjectLockConfiguration",
    "NotImplemented",
    "MethodNotAllowed",
)
_BUCKET_CANNOT = ("InvalidRequest", "InvalidBucketState", "ObjectLockConfigurationNotFoundError", "NotImplemented")
_TRY_AGAIN = tuple(f"{REFUSAL}{status} " for status in (429, 500, 502, 503, 504))
_PAUSES = (0.2, 1.0, 3.0, 10.0)  # seconds
_DAYS_OF_A_YEAR = 365
_RETENTION = (
    '<Retention xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Mode>{mode}</Mode>'
    "<RetainUntilDate>{until:%Y-%m-%dT%H:%M:%SZ}</RetainUntilDate></Retention>"
)


def require_lock(bucket: Bucket, found: Immutability) -> None:
    """
    :raises StorageError: the bucket locks no objects.
    """
    if not found.can_lock:
        raise _cannot_lock(bucket)


def _cannot_lock(bucket: Bucket) -> StorageError:
    return StorageError(
        f"BackupStorageConfig.s3_object_lock_days is {bucket.upload.lock_days}, and the bucket of {bucket.location} "
        "does not lock objects: switch on its object lock, or remove the parameter. Nothing was published."
    )


def lock_object(bucket: Bucket, url: str, region: str, path: str) -> None:
    """Lock the newest version of the object for as long as the configuration says.

    :param url: of the bucket.
    :param path: of the object, with the prefix.
    :raises StorageError: the service refuses, or the bucket locks nothing.
    """
    upload = bucket.upload
    until = datetime.now(UTC) + timedelta(days=upload.lock_days or 0)
    content = _RETENTION.format(mode=upload.lock_mode, until=until).encode()
    address = f"{url}/{quote(path, safe='/~')}"
    answer = _send_patiently(bucket, address, region, f"lock {path}", content)
    if not answer.startswith(REFUSAL):
        return
    error = OSError(answer)
    if code_of(error) in _BUCKET_CANNOT:
        raise _cannot_lock(bucket)
    raise storage_error(error, f"lock {path}", bucket)


def _send_patiently(bucket: Bucket, address: str, region: str, doing: str, content: bytes) -> str:
    """Try again where the service or the network fails: a large upload is not given up for that."""
    for pause in _PAUSES:
        try:
            answer = send(bucket, address, region, {"retention": ""}, doing, content)
            if not answer.startswith(_TRY_AGAIN):
                return answer
        except StorageError:  # there was no answer
            pass
        time.sleep(pause)
    return send(bucket, address, region, {"retention": ""}, doing, content)


def read_immutability(bucket: Bucket, url: str, region: str) -> Immutability:
    """Ask the bucket for its versions and its lock.

    :raises StorageError: the service refuses to say.
    """
    versioning = _ask(bucket, url, region, {"versioning": ""})
    lock = _ask(bucket, url, region, {"object-lock": ""}, absent=_NO_LOCK)
    days, mode = _default_retention(lock)
    return Immutability(
        has_versions=versioning is not None and versioning.findtext("{*}Status") in ("Enabled", "Suspended"),
        can_lock=lock is not None and lock.findtext("{*}ObjectLockEnabled") == "Enabled",
        default_days=days,
        default_mode=mode,
        own_days=bucket.upload.lock_days or 0,
        own_mode=bucket.upload.lock_mode if bucket.upload.lock_days else "",
    )


def _default_retention(lock: Xml.Element | None) -> tuple[int, str]:
    retention = lock.find("{*}Rule/{*}DefaultRetention") if lock is not None else None
    if retention is None:
        return 0, ""
    days = int(retention.findtext("{*}Days") or 0) or _DAYS_OF_A_YEAR * int(retention.findtext("{*}Years") or 0)
    return days, retention.findtext("{*}Mode") or ""


def _ask(
    bucket: Bucket, url: str, region: str, parameters: Mapping[str, str], absent: tuple[str, ...] = ("NotImplemented",)
) -> Xml.Element | None:
    """Return the answer; None: the service has nothing of that kind."""
    doing = "read the settings of the bucket"
    answer = send(bucket, url, region, parameters, doing)
    if answer.startswith(REFUSAL) and code_of(OSError(answer)) in absent:
        return None
    return parse_answer(bucket, answer, doing)
