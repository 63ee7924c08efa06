"""A bucket on a slow connection: everything works, nothing is sent twice, and requests run in parallel."""

from __future__ import annotations

import random

import pytest

from django_cfg.backup.storage.local import LocalStorage
from django_cfg.backup.storage.object_store import upload
from django_cfg.backup.storage.object_store.storage import ObjectStorage
from tests.support.django_project import Site
from tests.support.faulty_s3_proxy import FaultyProxy, Slow
from tests.support.manifests import publish
from tests.support.s3_server import S3Server
from tests.support.stored_history import daily

PARTS = random.Random(4).randbytes(18 * upload.MIB + 1)  # four parts of 5 MiB
EVERYTHING = ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "PutObject", "HeadObject", "GetObject",
              "ListObjects", "DeleteObject")  # fmt: skip


def test_slow_answers_are_waited_for(
    s3_server: S3Server, bucket: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "SMALLEST_PART", 5 * upload.MIB)
    for kind in EVERYTHING:
        proxy.every(kind, Slow(0.1))
    storage: ObjectStorage = s3_server.storage(bucket, s3_endpoint_url=proxy.endpoint)
    with storage.publish("shop.gz") as sink:
        sink.write(PARTS)
    storage.write("shop.json", b"a manifest")
    assert storage.read("shop.gz") == PARTS
    assert {found.key for found in storage.list()} == {"shop.gz", "shop.json"}
    storage.delete("shop.json")
    assert s3_server.files(bucket) == ["db-backups/shop.gz"]
    counts = {kind: proxy.seen.count(kind) for kind in ("CreateMultipartUpload", "UploadPart", "PutObject")}
    assert counts == {"CreateMultipartUpload": 1, "UploadPart": 4, "PutObject": 1}


def test_manifests_of_many_backups_are_read_in_parallel(site: Site, caching_s3_server: S3Server) -> None:
    """One after another they would take more than 10 s on this connection."""
    bucket = caching_s3_server.new_bucket()
    folder = caching_s3_server.data / bucket / "db-backups"
    made = daily(100)
    publish(LocalStorage(folder), *made)
    proxy = FaultyProxy(caching_s3_server)
    slow = Slow(0.1)
    try:
        proxy.every("GetObject", slow)
        site.configure(storage=caching_s3_server.config(bucket, s3_endpoint_url=proxy.endpoint))
        listed = site.call("backup_list", "--json").json
    finally:
        proxy.stop()
    assert [backup["name"] for backup in listed] == [manifest.name for manifest in made]
    assert proxy.seen.count("ListObjects") < 10
    assert slow.most_at_once > 8
