"""Path-style and virtual-hosted addressing for a host that begins with the bucket's name: a request decides.

The servers listen on 127.0.0.1, so the tests use a bucket named "127".
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from django_cfg.backup.errors import StorageError
from tests.support.django_project import Site
from tests.support.faulty_s3_proxy import Answer, Exchange, FaultyProxy
from tests.support.s3_server import S3Server

BUCKET = "127"


@pytest.fixture
def path_server(tmp_path: Path) -> Iterator[S3Server]:
    """A service that reads the bucket from the path, with a bucket named as the host begins."""
    server = S3Server(tmp_path / "s3")
    server.new_bucket(BUCKET)
    yield server
    server.stop()


@pytest.fixture
def virtual_server(tmp_path: Path) -> Iterator[S3Server]:
    """A service that reads the bucket from the host."""
    server = S3Server(tmp_path / "s3", "--force-path-style=false")
    server.new_bucket(BUCKET)
    yield server
    server.stop()


def keys(server: S3Server, **parameters: str) -> list[str]:
    """Write an object, then list."""
    storage = server.storage(BUCKET, **parameters)
    storage.write("shop.json", b"x")
    return [found.key for found in storage.list()]


def test_a_service_host(path_server: S3Server) -> None:
    assert keys(path_server) == ["shop.json"]
    assert path_server.files(BUCKET) == ["db-backups/shop.json"]


def test_a_service_host_and_a_bucket_named_like_the_prefix(path_server: S3Server) -> None:
    path_server.new_bucket("db-backups")
    assert keys(path_server) == ["shop.json"]
    assert path_server.files("db-backups") == []


def test_a_bucket_host(virtual_server: S3Server) -> None:
    assert keys(virtual_server) == ["shop.json"]
    assert virtual_server.files(BUCKET) == ["db-backups/shop.json"]


def test_an_endpoint_with_a_path(path_server: S3Server) -> None:
    """A gateway below a folder of its own: here the folder is a bucket, and the bucket a folder in it."""
    path_server.new_bucket("gateway")
    with pytest.raises(StorageError, match="find the bucket"):
        keys(path_server, s3_endpoint_url=f"{path_server.endpoint}/gateway/x")


@pytest.mark.parametrize("addressing", ["path", "auto"])
def test_a_bucket_that_is_missing(path_server: S3Server, addressing: str) -> None:
    (path_server.data / BUCKET).rmdir()
    with pytest.raises(StorageError, match="there is no such bucket"):
        keys(path_server, s3_addressing=addressing)


@pytest.mark.parametrize("addressing", ["path", "auto", "virtual"])
def test_a_wrong_secret(path_server: S3Server, addressing: str) -> None:
    with pytest.raises(StorageError, match="s3_secret_key is wrong"):
        keys(path_server, s3_addressing=addressing, s3_secret_key="another-secret")


def test_a_list_of_all_buckets_is_no_empty_list(path_server: S3Server) -> None:
    with pytest.raises(StorageError, match=r"not as this bucket.*s3_addressing"):
        list(path_server.storage(BUCKET, s3_addressing="virtual").list())


def test_a_configured_addressing_style_needs_no_request(path_server: S3Server) -> None:
    proxy = FaultyProxy(path_server)
    try:
        keys(path_server, s3_endpoint_url=proxy.endpoint, s3_addressing="path")
        assert proxy.seen[0] == "HeadObject"
    finally:
        proxy.stop()


def test_a_service_that_does_not_answer(path_server: S3Server) -> None:
    """Nothing is cached then: the next use sends the request again."""
    storage = path_server.storage(BUCKET)
    path_server.stop()
    with pytest.raises(StorageError, match="connection refused"):
        list(storage.list())


def test_backup_check_lists_what_it_wrote(site: Site, path_server: S3Server) -> None:
    def hide(exchange: Exchange) -> Answer:
        return Answer(200, b"<ListBucketResult><Name>shop</Name><IsTruncated>false</IsTruncated></ListBucketResult>")

    bucket = path_server.new_bucket("shop")
    proxy = FaultyProxy(path_server)
    try:
        proxy.every("ListObjects", hide)
        site.configure(storage=path_server.config(bucket, s3_endpoint_url=proxy.endpoint))
        answer = site.call("backup_check", json=True)
        found = [line["text"] for line in answer.json if line["subject"] == "storage"]
        assert answer.code == 1
        assert ["does not list what was written there" in text for text in found] == [True]
        assert path_server.files(bucket) == []
    finally:
        proxy.stop()
