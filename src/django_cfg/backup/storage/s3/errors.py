"""What a service or the network says no with, in words that name the parameter to change.

Only the code and the message of an answer are used: the rest of it may repeat what was signed, secrets included.
"""

from __future__ import annotations

import html
import re

from obstore.exceptions import BaseError

from django_cfg.backup.errors import NotEnoughSpace, ObjectLocked, StorageError
from django_cfg.backup.storage.s3.bucket import Bucket

REFUSED = (BaseError, OSError, ValueError)  # what obstore raises

_KEY_PAIR = "the pair of s3_access_key and s3_secret_key is wrong: copy both again"
_TEMPORARY = "s3_session_token is wrong or has expired: get new ones, or use keys that last"
_POLICY = (
    "access was denied: let the policy of the key behind s3_access_key allow s3:ListBucket on the bucket s3_bucket, "
    "and s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload below s3_prefix (docs/storage.md)"
)
_CLOCK = "this machine's clock differs too much from the service's: set it (NTP), and try again"
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
    "RequestTimeTooSkewed": _CLOCK,
    "RequestExpired": _CLOCK,
    "QuotaExceeded": _FULL,
    "StorageQuotaExceeded": _FULL,
    "InsufficientStorage": _FULL,
    "XMinioStorageFull": _FULL,
    "SlowDown": "the service asks to slow down, also after several attempts: try again later",
    "ServiceUnavailable": "the service is not available, also after several attempts: try again later",
    "InternalError": "the service failed, also after several attempts: try again later",
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
_LOCKED = re.compile(r"object.?lock|worm|retention|legal.?hold|\blocked\b", re.IGNORECASE)
_EXPECTED = re.compile(r"<Region>([^<]+)</Region>|expecting '([^']+)'|should be '([^']+)'")
_CERTIFICATE = re.compile(r"InvalidCertificate\(\s*(?:Other\(\s*OtherError\(\s*)?(\w+)")
# Of the network, as obstore describes them, and what to do.
_NETWORK = (
    (
        "InvalidContentType",
        "it does not speak TLS there: write s3_endpoint_url with http://, or the port for https",
    ),
    ("HTTP request to an HTTPS server", "it speaks TLS there: write s3_endpoint_url with https://"),
    ("dns error", "its host name is not known: check s3_endpoint_url (and s3_region), and the network"),
    ("Connection refused", "nothing answers at that address (connection refused): check s3_endpoint_url"),
    ("kind: Connect", "no connection could be made: check s3_endpoint_url, the network and the firewall"),
    ("kind: Timeout", "it did not answer in time: check s3_endpoint_url, the network and the firewall"),
    ("operation timed out", "it did not answer in time: check s3_endpoint_url, the network and the firewall"),
    ("error sending request", "the connection broke, also after several attempts: check the network, and try again"),
    ("error decoding response body", "the connection broke while it answered: check the network, and try again"),
    ("without LOCATION", "the bucket is in another region: set s3_region to the bucket's"),
)
_BEYOND = re.compile(r"\s*\n\nDebug source:", re.DOTALL)


def code_of(error: BaseException) -> str:
    """The service's own word for it, or ""."""
    return _tag("Code", str(error))


def is_status(error: BaseException, status: int) -> bool:
    return f"status code: {status} " in str(error)


def says_why(error: BaseException) -> bool:
    """Not so an answer to HEAD, which has no body."""
    return bool(code_of(error)) or "status code:" not in str(error)


def storage_error(error: BaseException, doing: str, bucket: Bucket) -> StorageError:
    """*error* of obstore as one of ours. Raise it ``from None``: the original is not fit to be shown."""
    code, text = code_of(error), str(error)
    kind, reason = StorageError, _reason_of_role(code, text, bucket) if bucket.uses_role else _reason(code, text)
    if doing.startswith("delete") and _LOCKED.search(f"{code} {_tag('Message', text)}"):
        kind, reason = ObjectLocked, f"it is locked ({code}); it can be deleted when its retention has passed"
    elif _CODES.get(code) is _FULL:
        kind = NotEnoughSpace
    return kind(bucket.redact(f"Could not {doing}, in {bucket.location}: {reason}."))


def _reason_of_role(code: str, text: str, bucket: Bucket) -> str:
    if code in _ROLE_CODES:
        return f"{_ROLE_CODES[code]} ({code})"
    request = _REQUEST_FOR_KEYS.search(text)
    addresses = (bucket.endpoint,) if bucket.endpoint else (f"https://{bucket.name}.", "https://s3.")
    if request and not (request["url"] or "").startswith(addresses):
        return _NO_ROLE
    return _reason(code, text)


def _reason(code: str, text: str) -> str:
    message = _tag("Message", text)
    if code in _CODES:
        return f"{_CODES[code]} ({code})"
    if code in _WRONG_REGION or "region" in message.lower():
        return _wrong_region(text)
    if code:
        return f"the service answered {code}: {message or 'without a reason'}".rstrip(".")
    return _of_the_network(text)


def _of_the_network(text: str) -> str:
    if certificate := _CERTIFICATE.search(text):
        return (
            f"its certificate is not trusted ({certificate[1]}): check the host in s3_endpoint_url; for an authority "
            "of your own let the environment variable SSL_CERT_FILE name its certificate"
        )
    for sign, meaning in _NETWORK:
        if sign in text:
            return meaning
    if "status code: 403" in text:
        return _POLICY
    return _shortened(_BEYOND.split(text)[0])


def _wrong_region(text: str) -> str:
    found = _EXPECTED.search(text)
    region = next(filter(None, found.groups()), "") if found else ""
    wanted = repr(region) if region else "the bucket's"
    return f"the bucket is in another region: set s3_region to {wanted}, and check s3_endpoint_url"


def _shortened(text: str) -> str:
    """The first words, without the answer's body."""
    return " ".join(text.split("<?xml")[0].split())[:300].rstrip(" .:-")


def _tag(name: str, text: str) -> str:
    found = re.search(rf"<{name}>([^<]*)</{name}>", text)
    return html.unescape(found[1]).strip() if found else ""
