"""Requests that obstore cannot make, signed with AWS Signature Version 4 by the keys of the configuration.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import Request, build_opener
from xml.etree import ElementTree as Xml

from django_cfg.backup.errors import StorageError
from django_cfg.backup.storage.s3.bucket import Bucket, NoRedirect
from django_cfg.backup.storage.s3.errors import storage_error

REFUSAL = "status code: "
LISTING = "list the objects"  # what a request does, for messages
_TIMEOUT = 20  # seconds
_MAX_ANSWER = 16 << 20  # bytes; a page of a list has at most 1,000 keys of 1,024 bytes


def send(
    bucket: Bucket, url: str, region: str, parameters: Mapping[str, str], doing: str, content: bytes | None = None
) -> str:
    """Ask with GET, or with PUT where there is *content*; return what was answered, whatever it is.

    A refusal begins with :data:`REFUSAL`.

    :param url: where the request goes to, percent-encoded.
    :raises StorageError: there is no answer.
    """
    method, body = ("GET", b"") if content is None else ("PUT", content)
    query = urlencode(sorted(parameters.items()), quote_via=quote, safe="")
    kind = {"Content-Type": "application/xml"} if body else {}
    headers = {**kind, **_sign(bucket, method, url, query, region, body)}
    address = f"{url}{'' if urlsplit(url).path else '/'}?{query}"
    request = Request(address, content, headers, method=method)  # noqa: S310  of the bucket
    try:
        with build_opener(NoRedirect).open(request, timeout=_TIMEOUT) as answer:
            found: bytes = answer.read(_MAX_ANSWER)
            return found.decode(errors="replace")
    except HTTPError as error:
        with error:
            return f"{REFUSAL}{error.code} {error.read(_MAX_ANSWER).decode(errors='replace')}"
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise storage_error(OSError(str(reason)), doing, bucket) from None


def parse_answer(bucket: Bucket, answer: str, doing: str) -> Xml.Element:
    """
    :raises StorageError: *answer* is a refusal, or no XML.
    """
    if answer.startswith(REFUSAL):
        raise storage_error(OSError(answer), doing, bucket)
    try:
        return Xml.fromstring(answer)  # noqa: S314  of the service that also holds the backups; expat is bounded
    except Xml.ParseError as error:
        raise StorageError(f"Could not {doing}, in {bucket.location}: {error} in its answer.") from None


def _sign(bucket: Bucket, method: str, url: str, query: str, region: str, body: bytes) -> dict[str, str]:
    """Return the headers of a request."""
    parts, now, digest = urlsplit(url), datetime.now(UTC), hashlib.sha256(body).hexdigest()
    day, moment = f"{now:%Y%m%d}", f"{now:%Y%m%dT%H%M%SZ}"
    signed = {"host": parts.netloc, "x-amz-content-sha256": digest, "x-amz-date": moment}
    if body:  # S3 wants it with what is about a lock
        signed = {"content-md5": base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode(), **signed}
    if bucket.session_token:
        signed["x-amz-security-token"] = bucket.session_token
    names = ";".join(signed)
    lines = "".join(f"{name}:{value}\n" for name, value in signed.items())
    canonical = f"{method}\n{parts.path or '/'}\n{query}\n{lines}\n{names}\n{digest}"
    scope = f"{day}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{bucket.secret_key}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    credential = f"AWS4-HMAC-SHA256 Credential={bucket.access_key}/{scope}"
    return {**signed, "Authorization": f"{credential}, SignedHeaders={names}, Signature={key.hex()}"}
