"""The address, the region and the name of a bucket, from its configuration."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.errors import ConfigurationError, StorageError
from django_cfg.backup.storage.object_store import upload
from django_cfg.backup.storage.object_store.storage import ObjectStorage
from django_cfg.backup.storage.s3 import bucket
from django_cfg.backup.storage.s3.addressing import is_virtual_hosted
from django_cfg.backup.storage.s3.bucket import Bucket
from django_cfg.backup.storage.s3.client import S3Client
from tests.support.faulty_s3_proxy import Answer, Exchange, FaultyProxy
from tests.support.s3_server import S3Server


def bucket_of(name: str = "shop", **parameters: Any) -> Bucket:
    given = {"s3_bucket": name, "s3_access_key": "AKIDEXAMPLE0", "s3_secret_key": "s3cret-key", **parameters}
    return Bucket.of(BackupStorageConfig(backend="s3", **given))


class TestAddress:
    @pytest.mark.parametrize(
        ("name", "region", "address"),
        [
            ("shop", "eu-central-1", "https://shop.s3.eu-central-1.amazonaws.com"),
            ("shop.example", "eu-central-1", "https://s3.eu-central-1.amazonaws.com"),
            ("shop", "cn-north-1", "https://shop.s3.cn-north-1.amazonaws.com.cn"),
        ],
    )
    def test_the_address_of_amazon(self, name: str, region: str, address: str) -> None:
        """The bucket's name is part of the host's, unless its dots would not fit the certificate."""
        found = bucket_of(name, s3_region=region)
        in_the_host = is_virtual_hosted(found, region)
        assert in_the_host == ("." not in name)
        assert found.address(found.actual_region(), virtual_hosted=in_the_host) == address

    @pytest.mark.parametrize(("addressing", "host"), [("path", ""), ("virtual", "shop.")])
    def test_the_configured_addressing_style_of_amazon(self, addressing: str, host: str) -> None:
        found = bucket_of(s3_region="eu-central-1", s3_addressing=addressing)
        address = found.address("eu-central-1", virtual_hosted=is_virtual_hosted(found, "eu-central-1"))
        assert address == f"https://{host}s3.eu-central-1.amazonaws.com"

    def test_other_services_have_the_bucket_in_the_path(self) -> None:
        found = bucket_of(s3_endpoint_url="HTTPS://account.r2.cloudflarestorage.com/")
        assert found.endpoint == "https://account.r2.cloudflarestorage.com"
        assert not is_virtual_hosted(found, "auto")

    def test_environment_variables_of_others_change_nothing(
        self, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """obstore reads them; a token or an endpoint meant for another program would break backups."""
        for name in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.setenv("AWS_SESSION_TOKEN", "another's")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another's")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another's")
        monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
        monkeypatch.setenv("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true")
        monkeypatch.setenv("AWS_REGION", "mars-1")
        storage = s3_server.storage(s3_server.new_bucket())
        storage.write("shop.json", b"x")
        assert storage.read("shop.json") == b"x"

    @pytest.mark.parametrize(
        "url", ["s3.example.com", "ftp://s3.example.com", "https://", "https://key:word@s3.example.com",
                "https://s3.example.com/shop", "https://s3.example.com/?x=1"],
    )  # fmt: skip
    def test_an_unusable_endpoint_is_refused_by_name(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match="s3_endpoint_url") as caught:
            bucket_of(s3_endpoint_url=url)
        assert "key:word" not in str(caught.value)


class TestChecksums:
    """Every service verifies signed data; Amazon S3 also gets and stores a checksum of each part."""

    @pytest.mark.parametrize(
        ("url", "is_amazons"),
        [(None, True), ("https://s3.eu-central-1.amazonaws.com", True), ("https://r2.example.com", False)],
    )
    def test_checksums_are_for_amazon_only(self, url: str | None, is_amazons: bool) -> None:
        assert bucket_of(s3_endpoint_url=url).is_amazons == is_amazons

    @pytest.mark.parametrize("is_amazons", [True, False])
    @pytest.mark.parametrize(("kind", "size"), [("PutObject", 10), ("UploadPart", 9 * upload.MIB)])
    def test_checksums_are_sent(
        self, s3_server: S3Server, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch, kind: str, size: int,
        is_amazons: bool,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(Bucket, "is_amazons", is_amazons)
        sent: list[str] = []

        def look(exchange: Exchange) -> Answer:
            sent.append(exchange.headers.get("x-amz-checksum-sha256", ""))
            return exchange.forward()

        proxy.every(kind, look)
        storage = s3_server.storage(s3_server.new_bucket(), s3_endpoint_url=proxy.endpoint)
        with storage.publish("shop.gz") as sink:
            sink.write(bytes(size))
        assert storage.read("shop.gz") == bytes(size)
        assert all(bool(checksum) == is_amazons for checksum in sent)
        assert sent


class TestUnencryptedConnections:
    @pytest.mark.parametrize(
        "url", ["http://127.0.0.1:9000", "http://127.1.2.3", "http://localhost:9000", "http://[::1]:9000",
                "https://s3.example.com", None],
    )  # fmt: skip
    def test_loopback_and_https_are_accepted(self, url: str | None) -> None:
        assert not ObjectStorage(S3Client(bucket_of(s3_endpoint_url=url))).sends_in_the_clear

    @pytest.mark.parametrize("url", ["http://minio:9000", "http://10.0.0.1", "http://localhost.example.com"])
    def test_plain_http_to_another_host_is_detected(self, url: str) -> None:
        assert ObjectStorage(S3Client(bucket_of(s3_endpoint_url=url))).sends_in_the_clear


class TestRegion:
    @pytest.mark.parametrize(
        ("url", "region"),
        [
            ("https://s3.us-west-004.backblazeb2.com", "us-west-004"),
            ("https://s3.eu-central-1.amazonaws.com", "eu-central-1"),
            ("https://shop.s3.eu-west-3.amazonaws.com", "eu-west-3"),
            ("https://account.r2.cloudflarestorage.com", "auto"),
            ("http://127.0.0.1:9000", "auto"),
        ],
    )
    def test_auto_reads_the_region_from_the_endpoint(self, url: str, region: str) -> None:
        assert bucket_of(s3_endpoint_url=url).actual_region() == region

    def test_a_configured_region_is_used(self) -> None:
        given = bucket_of(s3_endpoint_url="https://s3.eu-central-1.amazonaws.com", s3_region="eu-north-1")
        assert given.actual_region() == "eu-north-1"

    @pytest.mark.parametrize("status", [200, 301, 403])
    def test_amazon_is_asked_for_the_region(self, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
        """It answers this request for every caller. Tests cannot reach it, so a local server gives the same answer."""
        with answering(status, {"x-amz-bucket-region": "eu-south-2"}) as (address, paths):
            monkeypatch.setattr(bucket, "_AWS", address)
            assert bucket_of().actual_region() == "eu-south-2"
        assert paths == ["HEAD /shop"]

    def test_a_missing_bucket_has_no_region(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with answering(404, {}) as (address, _):
            monkeypatch.setattr(bucket, "_AWS", address)
            with pytest.raises(StorageError, match="knows no bucket 'shop': check s3_bucket"):
                list(ObjectStorage(S3Client(bucket_of())).list())

    def test_an_unreachable_amazon_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bucket, "_AWS", "http://127.0.0.1:1")
        with pytest.raises(StorageError, match="set s3_region"):
            list(ObjectStorage(S3Client(bucket_of())).list())


@contextmanager
def answering(status: int, headers: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    """A web server with one answer for every request; yield its address and the requested paths."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(f"{self.command} {self.path}")
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's name
            """The requested paths are in *asked*."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()
        thread.join()
