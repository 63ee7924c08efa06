"""Whether the host of an endpoint is the bucket's own: the service is asked, since a name proves nothing.

``https://shop.example.com`` may be the bucket ``shop`` of a service, or a service of that name with a bucket ``shop``.
Taking one for the other would store backups where they cannot be listed.
Requests are signed with AWS Signature Version 4:
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, build_opener

from django_cfg.backup.errors import StorageError
from django_cfg.backup.storage.s3.bucket import Bucket, NoRedirect
from django_cfg.backup.storage.s3.errors import storage_error

_TIMEOUT = 20  # seconds
_MAX_ANSWER = 1 << 20  # bytes
_LISTED_BUCKET = re.compile(r"<ListBucketResult[\s>].*?<Name>([^<]*)</Name>", re.DOTALL)
_REFUSAL = "status code: "
_NO_CONTENT = hashlib.sha256(b"").hexdigest()


def is_virtual_hosted(bucket: Bucket, region: str) -> bool:
    """Return True if the bucket's name is part of the host's, False if it goes into the path.

    :raises StorageError: the service does not answer as this bucket in the form that is wanted, or in either.
    """
    endpoint, addressing = bucket.endpoint, bucket.addressing
    if endpoint is None:
        return addressing == "virtual" or (addressing == "auto" and "." not in bucket.name)  # Amazon's certificate
    if addressing == "path" or (addressing == "auto" and not bucket.may_be_virtual_hosted):
        return False
    answer = _list(bucket, endpoint, region)
    if _is_of(bucket, answer):
        return True
    if addressing == "auto" and _is_of(bucket, answer := _list(bucket, f"{endpoint}/{bucket.name}", region)):
        return False
    if answer.startswith(_REFUSAL):
        raise storage_error(OSError(answer), "find the bucket", bucket)
    raise StorageError(
        f"Could not find the bucket, in {bucket.location}: the host answers as the service, not as this bucket. Check "
        "s3_bucket, s3_endpoint_url and s3_addressing."
    )


def _is_of(bucket: Bucket, answer: str) -> bool:
    """Return True if *answer* is a list of the bucket's objects; a list of all buckets is none."""
    found = _LISTED_BUCKET.search(answer)
    return found is not None and found[1] == bucket.name


def _list(bucket: Bucket, url: str, region: str) -> str:
    """Ask for a list of one object; return what was answered, whatever it is.

    :raises StorageError: there is no answer.
    """
    query = f"list-type=2&max-keys=1&prefix={quote(bucket.prefix, safe='')}"
    headers = _sign(bucket, url, query, region, datetime.now(UTC))
    request = Request(f"{url}{'' if urlsplit(url).path else '/'}?{query}", headers=headers)  # noqa: S310  of the bucket
    try:
        with build_opener(NoRedirect).open(request, timeout=_TIMEOUT) as answer:
            content: bytes = answer.read(_MAX_ANSWER)
            return content.decode(errors="replace")
    except HTTPError as error:
        with error:
            return f"{_REFUSAL}{error.code} {error.read(_MAX_ANSWER).decode(errors='replace')}"
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise storage_error(OSError(str(reason)), "find the bucket", bucket) from None


def _sign(bucket: Bucket, url: str, query: str, region: str, now: datetime) -> dict[str, str]:
    """Return the headers of a GET of *url*."""
    parts, day, moment = urlsplit(url), f"{now:%Y%m%d}", f"{now:%Y%m%dT%H%M%SZ}"
    signed = {"host": parts.netloc, "x-amz-content-sha256": _NO_CONTENT, "x-amz-date": moment}
    if bucket.session_token:
        signed["x-amz-security-token"] = bucket.session_token
    names = ";".join(signed)
    lines = "".join(f"{name}:{value}\n" for name, value in signed.items())
    canonical = f"GET\n{parts.path or '/'}\n{query}\n{lines}\n{names}\n{_NO_CONTENT}"
    scope = f"{day}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{bucket.secret_key}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    credential = f"AWS4-HMAC-SHA256 Credential={bucket.access_key}/{scope}"
    return {**signed, "Authorization": f"{credential}, SignedHeaders={names}, Signature={key.hex()}"}
