"""Lists of a bucket's objects, asked for without obstore, in which a key is no path.

S3 takes ``a//b``, ``./a`` and control characters, and one such key ends obstore's listing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus
from xml.etree import ElementTree as Xml

from django_cfg.backup.storage.s3.bucket import Bucket
from django_cfg.backup.storage.s3.signed_request import LISTING, parse_answer, send

if TYPE_CHECKING:
    from obstore import ObjectMeta

_log = logging.getLogger("django_cfg.backup")


def list_pages(bucket: Bucket, url: str, region: str, prefix: str) -> Iterator[Sequence[ObjectMeta]]:
    """Yield the objects whose keys are paths, by pages; a warning names each of the others.

    :param url: where the requests go to, the bucket's name included.
    :raises StorageError: the service refuses, or does not answer.
    """
    parameters = {"encoding-type": "url", "list-type": "2", "prefix": prefix}
    while True:
        page = parse_answer(bucket, send(bucket, url, region, parameters, LISTING), LISTING)
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
