"""Copies in a bucket: its service ends in the middle of an upload, and comes back."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.errors import CopyFailed
from django_cfg.backup.storage.object_store import client, upload
from tests.support.django_project import Site
from tests.support.faulty_s3_proxy import Answer, Exchange, FaultyProxy, drop
from tests.support.s3_server import S3Server

MB = 1_000_000


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "SMALLEST_PART", 5 * upload.MIB)
    soon = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=10)}
    quick = {"max_retries": 1, "retry_timeout": timedelta(seconds=5), "backoff": soon}
    monkeypatch.setattr(client, "_PART_RETRIES", quick)
    monkeypatch.setattr(client, "_REQUEST_RETRIES", quick)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[S3Server]:
    """A server of the test's own, which may be stopped."""
    server = S3Server(tmp_path / "s3")
    yield server
    server.stop()


@pytest.fixture
def proxy(service: S3Server) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(service)
    yield proxy
    proxy.stop()


def digests(folder: Path) -> dict[str, str]:
    """Without what the killed server has left of its own."""
    found = (path for path in folder.iterdir() if not path.name.startswith("."))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def test_a_service_that_ends_in_the_middle_of_an_upload(site: Site, service: S3Server, proxy: FaultyProxy) -> None:
    """The other places get the backup; the next tick makes up for it, and the digests are equal."""
    site.sql("CREATE TABLE large (content blob)", "INSERT INTO large VALUES (zeroblob(1))")
    for _ in range(12):
        site.sql(f"INSERT INTO large VALUES (x'{os.urandom(MB).hex()}')")
    before = site.content()
    bucket, attic = service.new_bucket(), site.root / "attic"
    parameters: dict[str, Any] = service.parameters(bucket) | {"s3_endpoint_url": proxy.endpoint}
    site.configure(
        compression="none",
        schedule={"interval_hours": 168},
        copies=[{"name": "bucket", "storage": parameters}, {"name": "attic", "storage": {"local_path": str(attic)}}],
    )

    def end_the_service(exchange: Exchange) -> Answer:
        service.stop()
        return drop(exchange)

    proxy.next("UploadPart", lambda exchange: exchange.forward(), end_the_service)
    with pytest.raises(CopyFailed, match="bucket"):
        create_backup()
    assert proxy.seen.count("UploadPart") >= 2
    assert digests(site.backups) == digests(attic)
    assert len(digests(attic)) == 2
    assert site.call("backup_status").code == 4

    service.start()
    answer = site.call("backup_tick")
    assert (answer.code, "copied from main to bucket" in answer.stdout) == (0, True)
    assert digests(service.data / bucket / "db-backups") == digests(attic)
    assert site.call("backup_status").code == 0
    for folder in (site.backups, attic):
        for path in folder.iterdir():
            path.unlink()
    site.sql("DELETE FROM large")
    restore_backup()
    site.close()
    assert site.content() == before
