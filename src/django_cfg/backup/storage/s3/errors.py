"""What S3 services say no with, in words that name the parameter to change."""

from __future__ import annotations

import re

from django_cfg.backup.errors import StorageError
from django_cfg.backup.storage.object_store import errors
from django_cfg.backup.storage.object_store.errors import (
    CLOCK,
    FAILED,
    NOT_AVAILABLE,
    SLOW_DOWN,
    Advice,
    code_of,
    message_of,
)
from django_cfg.backup.storage.s3.bucket import Bucket

_KEY_PAIR = "the pair of s3_access_key and s3_secret_key is wrong: copy both again"
_TEMPORARY = "s3_session_token is wrong or has expired: get new ones, or use keys that last"
_POLICY = (
    "access was denied: let the policy of the key behind s3_access_key allow s3:ListBucket on the bucket s3_bucket, "
    "and s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload below s3_prefix (docs/storage.md)"
)
_BUCKET = "there is no such bucket: check s3_bucket and s3_endpoint_url; this package creates no bucket"
_FULL = "the bucket or the account is full: make room there, or let s3_bucket name another"

_CODES = {
    "NoSuchBucket": _BUCKET,
    "InvalidBucketName": _BUCKET,
    "InvalidAccessKeyId": "s3_access_key is not known there: check it, and that s3_endpoint_url is of the same account",
    "SignatureDoesNotMatch": _KEY_PAIR,
    "InvalidToken": _TEMPORARY,
    "ExpiredToken": _TEMPORARY,
    "TokenRefreshRequired": _TEMPORARY,
    "AccessDenied": _POLICY,
    "Forbidden": _POLICY,
    "AllAccessDisabled": _POLICY,
    "AccountProblem": _POLICY,
    "RequestTimeTooSkewed": CLOCK,
    "RequestExpired": CLOCK,
    "QuotaExceeded": _FULL,
    "StorageQuotaExceeded": _FULL,
    "InsufficientStorage": _FULL,
    "XMinioStorageFull": _FULL,
    "SlowDown": SLOW_DOWN,
    "ServiceUnavailable": NOT_AVAILABLE,
    "InternalError": FAILED,
}
_ROLE_KEYS = (
    "the service does not take the keys of the role: with s3_use_role=True they come from AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, else from the role of this machine; check which, and that s3_endpoint_url is of the account"
)
_ROLE_CODES = {
    **dict.fromkeys(
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "TokenRefreshRequired"),
        _ROLE_KEYS,
    ),
    **{
        code: text.replace("the key behind s3_access_key", "the role")
        for code, text in _CODES.items()
        if text is _POLICY
    },
}
_NO_ROLE = (
    "this machine gives no keys (s3_use_role=True): AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set, and the "
    "service that hands out a role's keys gave none; attach a role to it, or set s3_access_key and s3_secret_key"
)
# A request for keys: its URL is not the bucket's, or too secret to be shown. Or what it needs is incomplete.
_REQUEST_FOR_KEYS = re.compile(
    r"Error performing [A-Z]+ (?P<url>\S+)|token file|Missing(SecretAccessKey|AccessKeyId)| key id"
)
_WRONG_REGION = {
    "AuthorizationHeaderMalformed",
    "AuthorizationQueryParametersError",
    "PermanentRedirect",
    "TemporaryRedirect",
    "IllegalLocationConstraintException",
    "InvalidRegion",
    "InvalidLocationConstraint",
}
_EXPECTED = re.compile(r"<Region>([^<]+)</Region>|expecting '([^']+)'|should be '([^']+)'")
_ELSEWHERE = "without LOCATION"  # a redirect to the bucket's region, as obstore describes it

_ADVICE = Advice(
    codes=_CODES, full=_FULL, denied=_POLICY, endpoint="s3_endpoint_url", host="s3_endpoint_url (and s3_region)"
)


def storage_error(error: BaseException, doing: str, bucket: Bucket) -> StorageError:
    """*error* of obstore as one of ours. Raise it ``from None``: the original is not fit to be shown."""
    code, text = code_of(error), str(error)
    reason = _reason_of_role(code, text, bucket) if bucket.uses_role else ""
    return errors.storage_error(error, doing, bucket, _ADVICE, reason or _reason(code, text))


def _reason_of_role(code: str, text: str, bucket: Bucket) -> str:
    if code in _ROLE_CODES:
        return f"{_ROLE_CODES[code]} ({code})"
    request = _REQUEST_FOR_KEYS.search(text)
    addresses = (bucket.endpoint,) if bucket.endpoint else (f"https://{bucket.name}.", "https://s3.")
    return _NO_ROLE if request and not (request["url"] or "").startswith(addresses) else ""


def _reason(code: str, text: str) -> str:
    """Return what only S3 has, or ""."""
    if code in _WRONG_REGION or (code not in _CODES and "region" in message_of(text).lower()):
        return _wrong_region(text)
    return "the bucket is in another region: set s3_region to the bucket's" if _ELSEWHERE in text else ""


def _wrong_region(text: str) -> str:
    found = _EXPECTED.search(text)
    region = next(filter(None, found.groups()), "") if found else ""
    wanted = repr(region) if region else "the bucket's"
    return f"the bucket is in another region: set s3_region to {wanted}, and check s3_endpoint_url"
