"""Whether the host of an endpoint is the bucket's own: the service is asked, since a name proves nothing.

``https://shop.example.com`` may be the bucket ``shop`` of a service, or a service of that name with a bucket ``shop``.
Taking one for the other would store backups where they cannot be listed.
"""

from __future__ import annotations

import re

from django_cfg.backup.errors import StorageError
from django_cfg.backup.storage.s3.bucket import Bucket
from django_cfg.backup.storage.s3.errors import storage_error
from django_cfg.backup.storage.s3.signed_request import LISTING, REFUSAL, send

_LISTED_BUCKET = re.compile(r"<ListBucketResult[\s>].*?<Name>([^<]*)</Name>", re.DOTALL)


def is_virtual_hosted(bucket: Bucket, region: str) -> bool:
    """Return True if the bucket's name is part of the host's, False if it goes into the path.

    :raises StorageError: the service does not answer as this bucket in the form that is wanted, or in either.
    """
    endpoint, addressing = bucket.endpoint, bucket.addressing
    if endpoint is None:
        return addressing == "virtual" or (addressing == "auto" and "." not in bucket.name)  # Amazon's certificate
    if addressing == "path" or (addressing == "auto" and not bucket.may_be_virtual_hosted):
        return False
    if bucket.uses_role:
        return addressing == "virtual"  # only obstore has the keys to ask with
    answer = _list(bucket, endpoint, region)
    if _is_of(bucket, answer):
        return True
    if addressing == "auto" and _is_of(bucket, answer := _list(bucket, f"{endpoint}/{bucket.name}", region)):
        return False
    if answer.startswith(REFUSAL):
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
    """Ask for a list of one object."""
    return send(bucket, url, region, {"list-type": "2", "max-keys": "1", "prefix": bucket.prefix}, LISTING)
