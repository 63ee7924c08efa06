"""What Google Cloud Storage says no with, in words that name the parameter to change.

The codes: https://cloud.google.com/storage/docs/xml-api/reference-status
"""

from __future__ import annotations

from django_cfg.backup.errors import StorageError
from django_cfg.backup.storage.gcs.bucket import GCSBucket
from django_cfg.backup.storage.object_store import errors
from django_cfg.backup.storage.object_store.errors import CLOCK, FAILED, NOT_AVAILABLE, SLOW_DOWN, Advice, code_of

_BUCKET = "there is no such bucket: check gcs_bucket; this package creates no bucket"
_POLICY = (
    "access was denied: give the account of gcs_credentials, or this machine's, the role Storage Object User on the "
    "bucket gcs_bucket (docs/storage.md)"
)
_KEY = (
    "the credentials are not accepted: make a new key of the service account for gcs_credentials, or see which "
    "credentials this machine has, and that its clock is right"
)
_ACCOUNT = "the project of the bucket cannot be used (disabled, or without a billing account): see Google's console"
_FULL = "the quota of the bucket's project is used up: raise it, or let gcs_bucket name another"
_UNUSABLE_KEY = "the private_key in gcs_credentials is no RSA key in PEM form: copy the JSON again as Google made it"
_NO_KEY = (
    "this machine gives no credentials: neither GOOGLE_APPLICATION_CREDENTIALS nor gcloud's file of default "
    "credentials gives any, and no metadata server answers; set gcs_credentials, or give the machine a service account"
)

_ADVICE = Advice(
    codes={
        "NoSuchBucket": _BUCKET,
        "InvalidBucketName": _BUCKET,
        "AccessDenied": _POLICY,
        "Forbidden": _POLICY,
        "InsufficientPermission": _POLICY,
        "AuthenticationRequired": _KEY,
        "InvalidAuthentication": _KEY,
        "InvalidSecurity": _KEY,
        "ExpiredToken": _KEY,
        "AccountProblem": _ACCOUNT,
        "ProjectAccountProblem": _ACCOUNT,
        "UserProjectAccountProblem": _ACCOUNT,
        "RequestTimeTooSkewed": CLOCK,
        "QuotaExceeded": _FULL,
        "SlowDown": SLOW_DOWN,
        "ServiceUnavailable": NOT_AVAILABLE,
        "InternalError": FAILED,
    },
    full=_FULL,
    denied=_POLICY,
    endpoint="gcs_endpoint_url",
    host="gcs_endpoint_url",
)
_KEY_FAULTS = ("Unable to decode service account", "CryptoProvider error", "Error encoding jwt")
_NO_CREDENTIALS = ("token request", "Unable to open service account file", "application default credentials")


def storage_error(error: BaseException, doing: str, bucket: GCSBucket) -> StorageError:
    """*error* of obstore as one of ours. Raise it ``from None``: the original is not fit to be shown."""
    return errors.storage_error(error, doing, bucket, _ADVICE, _reason(error, bucket))


def _reason(error: BaseException, bucket: GCSBucket) -> str:
    """Return what only Google has, or ""."""
    text = str(error)
    if any(sign in text for sign in _KEY_FAULTS):
        return _UNUSABLE_KEY
    if code_of(error):
        return ""
    is_elsewhere = errors.is_of_another_server(error, bucket.endpoint)
    if not bucket.credentials and (is_elsewhere or any(sign in text for sign in _NO_CREDENTIALS)):
        return _NO_KEY
    return _KEY if "status code: 401" in text else ""
