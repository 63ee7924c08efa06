"""The S3 storage on broken networks and failing services: requests are retried, or nothing is published."""

from __future__ import annotations

import logging
import random
import signal
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from django_cfg.backup.errors import NameTaken, StorageError
from django_cfg.backup.pipeline.archive import pack
from django_cfg.backup.pipeline.stream import pump
from django_cfg.backup.storage.object_store import client, upload
from django_cfg.backup.storage.object_store.storage import ObjectStorage
from tests.support import faulty_s3_proxy as faults
from tests.support.faulty_s3_proxy import Answer, Exchange, Fault, FaultyProxy, Slow
from tests.support.noise import Noise
from tests.support.processes import wait_until
from tests.support.s3_server import S3Server

PARTS = random.Random(4).randbytes(18 * upload.MIB + 1)  # four parts of 5 MiB
SMALL = b"a manifest"
PASSING: dict[str, Fault] = {
    "dropped": faults.drop,
    "cut in the middle": faults.cut_in_the_middle,
    "500": faults.status(500),
    "503": faults.status(503, "SlowDown", "Please reduce your request rate."),
    "answer lost": faults.lose_answer,
}
IN_PARTS = ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "HeadObject"]
IN_ONE = ["PutObject", "HeadObject"]
COMPLETED = b"<CompleteMultipartUploadResult><ETag>&quot;0-4&quot;</ETag></CompleteMultipartUploadResult>"


@pytest.fixture(autouse=True)
def _small_and_hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "SMALLEST_PART", 5 * upload.MIB)
    soon = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=10)}
    quick = {"max_retries": 2, "retry_timeout": timedelta(seconds=20), "backoff": soon}
    monkeypatch.setattr(client, "_PART_RETRIES", quick)
    monkeypatch.setattr(client, "_REQUEST_RETRIES", quick)


@pytest.fixture
def storage(s3_server: S3Server, bucket: str, proxy: FaultyProxy) -> ObjectStorage:
    return s3_server.storage(bucket, s3_endpoint_url=proxy.endpoint)


@pytest.fixture
def disk(s3_server: S3Server, bucket: str) -> Iterator[list[str]]:
    """The files on the server's disk at the end of the test have to be these; parts of uploads are files, too."""
    expected: list[str] = []
    yield expected
    assert s3_server.files(bucket) == expected


class TestRequestsOfAListing:
    def test_one_list_for_each_thousand_objects(
        self, storage: ObjectStorage, proxy: FaultyProxy, s3_server: S3Server, bucket: str
    ) -> None:
        """And no request for any single one."""
        folder = s3_server.data / bucket / "db-backups"
        folder.mkdir()
        for number in range(2_001):
            (folder / f"{number:05}.json").touch()
        assert len(list(storage.list())) == 2_001
        assert proxy.seen == ["ListObjects"] * 3

    def test_manifests_are_read_by_one_request_each_sixteen_at_once(
        self, storage: ObjectStorage, proxy: FaultyProxy, s3_server: S3Server, bucket: str
    ) -> None:
        folder = s3_server.data / bucket / "db-backups"
        folder.mkdir()
        keys = [f"{number:05}.json" for number in range(40)]
        for key in keys:
            (folder / key).write_text(key)
        slow = Slow(0.3, expected=16)  # long enough for another to arrive
        proxy.every("GetObject", slow)
        assert [key for key, data in storage.read_many(keys) if data == key.encode()] == keys
        assert proxy.seen == ["GetObject"] * 40
        assert slow.most_at_once == 16


class TestTemporaryFaults:
    @pytest.mark.parametrize("kind", IN_PARTS)
    @pytest.mark.parametrize("fault", PASSING)
    def test_a_multipart_upload_is_retried(
        self, storage: ObjectStorage, proxy: FaultyProxy, s3_server: S3Server, bucket: str, kind: str, fault: str
    ) -> None:
        """The request is sent again, not the complete dump; the bytes are right."""
        proxy.next(kind, PASSING[fault])
        with storage.publish("shop.gz") as sink:
            sink.write(PARTS)
        assert (s3_server.data / bucket / "db-backups/shop.gz").read_bytes() == PARTS
        if kind == "UploadPart":
            assert proxy.seen.count("UploadPart") == 5

    @pytest.mark.parametrize("kind", IN_ONE)
    @pytest.mark.parametrize("fault", PASSING)
    def test_an_upload_in_one_request_is_retried(
        self, storage: ObjectStorage, proxy: FaultyProxy, disk: list[str], kind: str, fault: str
    ) -> None:
        """Created conditionally: the second attempt recognises the object that the first one created."""
        proxy.every("PutObject", faults.on_condition())
        proxy.next(kind, PASSING[fault])
        storage.write("shop.json", SMALL)
        assert storage.read("shop.json") == SMALL
        disk.append("db-backups/shop.json")

    @pytest.mark.parametrize("kind", ["GetObject", "HeadObject", "ListObjects", "DeleteObject"])
    @pytest.mark.parametrize("fault", PASSING)
    def test_other_requests_are_retried(
        self, storage: ObjectStorage, proxy: FaultyProxy, kind: str, fault: str
    ) -> None:
        storage.write("shop.json", SMALL)
        proxy.next(kind, PASSING[fault])
        assert storage.read("shop.json") == SMALL
        assert [found.key for found in storage.list()] == ["shop.json"]
        storage.delete("shop.json")
        assert storage.stat("shop.json") is None

    def test_a_part_without_an_answer_is_retried(
        self, storage: ObjectStorage, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A dead connection is abandoned after a while, and a new one is opened."""
        monkeypatch.setattr(client, "_PART", timedelta(seconds=3))
        proxy.next("UploadPart", proxy.hold)
        with storage.publish("shop.gz") as sink:
            sink.write(PARTS)
        assert storage.read("shop.gz") == PARTS

    @pytest.mark.parametrize("code", ["InternalError", "SlowDown"])
    def test_an_error_in_an_answer_of_200_is_retried(
        self, storage: ObjectStorage, proxy: FaultyProxy, code: str
    ) -> None:
        proxy.next("CompleteMultipartUpload", faults.status(200, code))
        with storage.publish("shop.gz") as sink:
            sink.write(PARTS)
        assert storage.read("shop.gz") == PARTS

    def test_an_interrupted_download_is_resumed(self, storage: ObjectStorage, proxy: FaultyProxy) -> None:
        """The rest is requested. (rclone answers that with 200, which the proxy makes the 206 of other services.)"""
        storage.write("shop.gz", PARTS)
        proxy.next("GetObject", faults.cut_answer, faults.cut_answer, faults.as_partial)
        assert storage.read("shop.gz") == PARTS


class TestPermanentFaults:
    """A clear error, no object, no unfinished upload, and the name is free again."""

    @pytest.mark.parametrize("kind", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"])
    @pytest.mark.parametrize(
        ("fault", "message"),
        [
            (faults.status(500), "the service failed"),
            (faults.status(503, "SlowDown"), "asks to slow down"),
            (faults.status(403, "AccessDenied"), "access was denied"),
            (faults.drop, "the connection broke"),
        ],
        ids=["500", "503", "403", "dropped"],
    )
    @pytest.mark.usefixtures("disk")
    def test_an_upload_fails(
        self, storage: ObjectStorage, proxy: FaultyProxy, kind: str, fault: Fault, message: str
    ) -> None:
        proxy.every(kind, fault)
        expected = f"Could not store shop.gz.*{message}"
        with pytest.raises(StorageError, match=expected), storage.publish("shop.gz") as sink:  # noqa: PT012
            for start in range(0, len(PARTS), 1_000_000):
                sink.write(PARTS[start : start + 1_000_000])
        assert storage.stat("shop.gz") is None
        assert not storage.is_taken("shop")
        if kind != "CreateMultipartUpload":
            assert "AbortMultipartUpload" in proxy.seen

    @pytest.mark.usefixtures("disk")
    @pytest.mark.parametrize("code", ["InternalError", "SlowDown", "InvalidPart"])
    def test_an_error_in_every_answer_of_200_fails(self, storage: ObjectStorage, proxy: FaultyProxy, code: str) -> None:
        """The status is 200 and the body holds an error."""
        proxy.every("CompleteMultipartUpload", faults.status(200, code))
        with pytest.raises(StorageError, match="Could not store shop"), storage.publish("shop.gz") as sink:
            sink.write(PARTS)
        assert storage.stat("shop.gz") is None

    def test_a_successful_answer_without_an_object_fails(self, storage: ObjectStorage, proxy: FaultyProxy) -> None:
        proxy.next("CompleteMultipartUpload", lambda exchange: Answer(200, exchange.body and COMPLETED))
        with pytest.raises(StorageError, match="said yes, but it is not there"), storage.publish("shop.gz") as sink:
            sink.write(PARTS)

    @pytest.mark.usefixtures("disk")
    @pytest.mark.parametrize("content", [SMALL, PARTS], ids=["in one request", "in parts"])
    def test_a_successful_answer_with_a_truncated_object_fails(
        self, storage: ObjectStorage, proxy: FaultyProxy, content: bytes
    ) -> None:
        """The truncated object is removed."""
        proxy.next("PutObject", cut_on_disk)
        proxy.next("CompleteMultipartUpload", cut_on_disk)
        with pytest.raises(StorageError, match="bytes instead of"), storage.publish("shop.gz") as sink:
            sink.write(content)
        assert storage.stat("shop.gz") is None

    def test_a_download_fails(self, storage: ObjectStorage, proxy: FaultyProxy) -> None:
        storage.write("shop.gz", PARTS)
        proxy.every("GetObject", faults.cut_answer)
        with pytest.raises(StorageError, match="Could not read shop"):
            storage.read("shop.gz")

    def test_a_failed_abort_is_logged_and_the_first_error_is_raised(
        self, storage: ObjectStorage, proxy: FaultyProxy, caplog: pytest.LogCaptureFixture
    ) -> None:
        proxy.every("AbortMultipartUpload", faults.status(403, "AccessDenied"))
        with pytest.raises(ValueError, match="the dump failed"), storage.publish("shop.gz") as sink:  # noqa: PT012
            sink.write(PARTS)
            raise ValueError("the dump failed")
        ours = [record for record in caplog.records if record.name == "django_cfg.backup"]
        assert [(record.levelno, "lifecycle rule" in record.message) for record in ours] == [(logging.WARNING, True)]


class TestConditions:
    def test_a_service_without_conditional_writes_gets_plain_requests(
        self, storage: ObjectStorage, proxy: FaultyProxy
    ) -> None:
        def refuse(exchange: Exchange) -> Answer:
            if "if-none-match" in exchange.headers:
                return faults.status(501, "NotImplemented")(exchange)
            return exchange.forward()

        proxy.every("PutObject", refuse)
        storage.write("shop.json", SMALL)
        assert storage.read("shop.json") == SMALL

    def test_an_object_created_after_the_check_stays(
        self, storage: ObjectStorage, proxy: FaultyProxy, s3_server: S3Server, bucket: str
    ) -> None:
        """Another machine creates it between the check and the request."""
        condition = faults.on_condition()

        def after_another(exchange: Exchange) -> Answer:
            exchange.stored.parent.mkdir()
            exchange.stored.write_bytes(b"another")
            return condition(exchange)

        proxy.next("PutObject", after_another)
        with pytest.raises(NameTaken):
            storage.write("shop.json", SMALL)
        assert storage.read("shop.json") == b"another"


@pytest.mark.usefixtures("disk")
class TestSignals:
    """Ctrl-C has an immediate effect, and nothing is left."""

    def test_ctrl_c_while_parts_are_not_answered(self, storage: ObjectStorage, proxy: FaultyProxy) -> None:
        proxy.every("UploadPart", proxy.hold)
        full = interrupted_when(lambda: proxy.seen.count("UploadPart") >= upload.parts_at_once(5 * upload.MIB))
        with full, pytest.raises(KeyboardInterrupt), storage.publish("shop.gz") as sink:
            pump(Noise(), sink)
        assert "AbortMultipartUpload" in proxy.seen

    @pytest.mark.parametrize("compression", ["gzip", "zstd", "bz2", "none"])
    def test_ctrl_c_while_a_compressor_waits_for_the_upload(
        self, storage: ObjectStorage, proxy: FaultyProxy, compression: str
    ) -> None:
        """The compressor writes from another thread, which is joined."""
        proxy.every("UploadPart", proxy.hold)
        begun = interrupted_when(lambda: "UploadPart" in proxy.seen)
        with begun, pytest.raises(KeyboardInterrupt), storage.publish("shop.gz") as sink:
            pack(Noise(), sink, compression)  # type: ignore[arg-type]
        assert "AbortMultipartUpload" in proxy.seen

    @pytest.mark.parametrize("content", [SMALL, PARTS], ids=["in one request", "in parts"])
    def test_ctrl_c_during_the_request_that_publishes(
        self, storage: ObjectStorage, proxy: FaultyProxy, content: bytes
    ) -> None:
        """The request is finished, and the published object is removed."""

        def interrupt(exchange: Exchange) -> Answer:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            return exchange.forward()

        proxy.next("PutObject", interrupt)
        proxy.next("CompleteMultipartUpload", interrupt)
        with pytest.raises(KeyboardInterrupt), storage.publish("shop.gz") as sink:
            sink.write(content)
        assert storage.stat("shop.gz") is None


class interrupted_when:  # noqa: N801  it reads as a block
    """A block in which Ctrl-C comes as soon as *condition* is true."""

    def __init__(self, condition: object) -> None:
        self._thread = threading.Thread(target=self._interrupt, args=(condition,))

    def _interrupt(self, condition: object) -> None:
        wait_until(condition)  # type: ignore[arg-type]
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *args: object) -> None:
        self._thread.join()


def cut_on_disk(exchange: Exchange) -> Answer:
    """The service stores half of the object, and reports success."""
    answer = exchange.forward()
    content = exchange.stored.read_bytes()
    exchange.stored.write_bytes(content[: len(content) // 2])
    return answer
