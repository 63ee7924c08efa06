"""Lists of a bucket's objects, asked for without obstore, for two questions that it cannot answer.

Whose host is it (:mod:`.addressing`), and what is in a bucket in which a key is no path: S3 takes ``a//b``, ``./a`` and
control characters, and one such key ends obstore's listing. Requests are signed with AWS Signature Version 4:
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote_plus, urlencode, urlsplit
from urllib.request import Request, build_opener
from xml.etree import ElementTree as Xml

from django_cfg.backup.errors import StorageError
from django_cfg.backup.storage.s3.bucket import Bucket, NoRedirect
from django_cfg.backup.storage.s3.errors import storage_error

if TYPE_CHECKING:
    from obstore import ObjectMeta

_TIMEOUT = 20  # seconds
_MAX_ANSWER = 16 << 20  # bytes; a page has at most 1,000 keys of 1,024 bytes
REFUSAL = "status code: "
_NO_CONTENT = hashlib.sha256(b"").hexdigest()
_log = logging.getLogger("django_cfg.backup")


def list_pages(bucket: Bucket, url: str, region: str, prefix: str) -> Iterator[Sequence[ObjectMeta]]:
    """Yield the objects whose keys are paths, by pages; a warning names each of the others.

    :param url: where the requests go to, the bucket's name included.
    :raises StorageError: the service refuses, or does not answer.
    """
    parameters = {"encoding-type": "url", "list-type": "2", "prefix": prefix}
    while True:
        answer = request_list(bucket, url, region, parameters)
        if answer.startswith(REFUSAL):
            raise storage_error(OSError(answer), "list the objects", bucket)
        try:
            page = Xml.fromstring(answer)  # noqa: S314  of the service that also holds the backups; expat is bounded
        except Xml.ParseError as error:
            raise StorageError(f"Could not list the objects, in {bucket.location}: {error} in its answer.") from None
        yield list(_objects(bucket, page))
        token = page.findtext("{*}NextContinuationToken")
        if page.findtext("{*}IsTruncated") != "true" or not token:
            return
        parameters = {**parameters, "continuation-token": token}


def _objects(bucket: Bucket, page: Xml.Element) -> Iterator[ObjectMeta]:
    is_encoded = page.findtext("{*}EncodingType") == "url"
    for found in page.findall("{*}Contents"):
        key = found.findtext("{*}Key") or ""
        key = unquote_plus(key) if is_encoded else key
        if not _is_path(key.removesuffix("/")):
            _log.warning("Ignored in %s: the object %r, whose key is no path. No backup has one.", bucket.location, key)
            continue
        yield {
            "path": key,
            "size": int(found.findtext("{*}Size") or 0),
            "last_modified": datetime.fromisoformat(found.findtext("{*}LastModified") or "1970-01-01T00:00:00Z"),
            "e_tag": found.findtext("{*}ETag"),
            "version": None,
        }


def _is_path(key: str) -> bool:
    return key.isprintable() and not {"", ".", ".."} & set(key.split("/"))


def request_list(bucket: Bucket, url: str, region: str, parameters: Mapping[str, str]) -> str:
    """Ask for a list; return what was answered, whatever it is. A refusal begins with :data:`REFUSAL`.

    :raises StorageError: there is no answer.
    """
    query = urlencode(sorted(parameters.items()), quote_via=quote, safe="")
    headers = _sign(bucket, url, query, region, datetime.now(UTC))
    request = Request(f"{url}{'' if urlsplit(url).path else '/'}?{query}", headers=headers)  # noqa: S310  of the bucket
    try:
        with build_opener(NoRedirect).open(request, timeout=_TIMEOUT) as answer:
            content: bytes = answer.read(_MAX_ANSWER)
            return content.decode(errors="replace")
    except HTTPError as error:
        with error:
            return f"{REFUSAL}{error.code} {error.read(_MAX_ANSWER).decode(errors='replace')}"
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise storage_error(OSError(str(reason)), "list the objects", bucket) from None


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
