"""What goes with an object to the service, as it was sent: storage class, encryption by the service, tags, headers."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.storage.object_store.storage import ObjectStorage
from django_cfg.backup.storage.object_store.upload import SMALLEST_PART
from tests.support.faulty_s3_proxy import Answer, Exchange, FaultyProxy
from tests.support.s3_server import S3Server

KMS_KEY = "arn:aws:kms:eu-central-1:123456789012:key/abcd"
Sent = list[tuple[str, dict[str, str]]]


@pytest.fixture
def sent(proxy: FaultyProxy) -> Sent:
    """The kinds of all requests and their headers, in order."""
    seen: Sent = []

    def note(exchange: Exchange) -> Answer:
        seen.append((exchange.kind, exchange.headers))
        return exchange.forward()

    for kind in ("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "GetObject"):
        proxy.every(kind, note)
    return seen


@pytest.fixture
def open_storage(s3_server: S3Server, proxy: FaultyProxy, bucket: str) -> Any:
    def open_with(**changes: Any) -> ObjectStorage:
        return s3_server.storage(bucket, s3_endpoint_url=proxy.endpoint, **changes)

    return open_with


def write_large(storage: ObjectStorage, key: str) -> None:
    with storage.publish(key, expected_size=SMALLEST_PART) as sink:
        sink.write(bytes(SMALLEST_PART + 1))


def headers_of(sent: Sent, kind: str) -> list[dict[str, str]]:
    found = [headers for name, headers in sent if name == kind]
    assert found
    return found


def signed(headers: dict[str, str]) -> set[str]:
    return set(headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";"))


def test_nothing_is_sent_unless_it_is_configured(open_storage: Any, sent: Sent) -> None:
    storage = open_storage()
    storage.write("a.sql.gz", b"x")
    write_large(storage, "b.sql.gz")
    for kind in ("PutObject", "CreateMultipartUpload"):
        for headers in headers_of(sent, kind):
            amazons = {name for name in headers if name.startswith("x-amz-")}
            assert amazons == {"x-amz-date", "x-amz-content-sha256"}


def test_archives_alone_have_the_storage_class(open_storage: Any, sent: Sent) -> None:
    """Sidecars are small, are read often, and some of them are deleted soon."""
    storage = open_storage(s3_storage_class="STANDARD_IA")
    storage.write("small.sql.gz", b"x")
    for key in ("small.json", "small.20260131T020000Z.proof.json", "small.pin.json", "backup-check-0.probe"):
        storage.write(key, b"{}")
    write_large(storage, "large.sql.gz")
    found = [headers.get("x-amz-storage-class") for headers in headers_of(sent, "PutObject")]
    assert found == ["STANDARD_IA", None, None, None, None]
    (created,) = headers_of(sent, "CreateMultipartUpload")
    assert created["x-amz-storage-class"] == "STANDARD_IA"
    assert "x-amz-storage-class" in signed(created)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"s3_sse": "AES256"}, {"x-amz-server-side-encryption": "AES256"}),
        ({"s3_sse": "aws:kms"}, {"x-amz-server-side-encryption": "aws:kms"}),
        (
            {"s3_sse": "aws:kms", "s3_sse_kms_key_id": KMS_KEY},
            {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": KMS_KEY},
        ),
    ],
    ids=["s3", "kms", "kms-key"],
)
def test_the_service_is_asked_to_encrypt_every_object(
    open_storage: Any, sent: Sent, changes: dict[str, str], expected: dict[str, str]
) -> None:
    """Once for each upload: S3 refuses it with a part, and with a read."""
    storage = open_storage(**changes)
    storage.write("a.json", b"{}")
    write_large(storage, "b.sql.gz")
    assert storage.read("a.json") == b"{}"
    for kind in ("PutObject", "CreateMultipartUpload"):
        for headers in headers_of(sent, kind):
            assert {name: text for name, text in headers.items() if "encryption" in name} == expected
            assert expected.keys() <= signed(headers)
    for kind in ("UploadPart", "CompleteMultipartUpload", "GetObject"):
        assert not any("encryption" in name for headers in headers_of(sent, kind) for name in headers)


def test_extra_headers_are_sent_and_signed(open_storage: Any, sent: Sent) -> None:
    """What belongs to the object once, what a gateway wants with every request of an upload."""
    headers = {"x-amz-tagging": "team=shop&kind=backup", "X-Amz-Meta-Origin": "web1", "Cache-Control": "no-store",
               "X-Gateway-Token": "for the gateway"}  # fmt: skip
    storage = open_storage(s3_extra_headers=headers)
    storage.write("a.json", b"{}")
    write_large(storage, "b.sql.gz")
    assert storage.read("a.json") == b"{}"
    of_the_object = {"x-amz-tagging": {"team=shop&kind=backup", "kind=backup&team=shop"}, "x-amz-meta-origin": {"web1"},
                     "cache-control": {"no-store"}}  # fmt: skip
    for kind in ("PutObject", "CreateMultipartUpload"):
        for found in headers_of(sent, kind):
            assert all(found[name] in texts for name, texts in of_the_object.items())
            assert {"x-amz-tagging", "x-amz-meta-origin", "x-gateway-token"} <= signed(found)
    for kind in ("UploadPart", "CompleteMultipartUpload"):
        for found in headers_of(sent, kind):
            assert found["x-gateway-token"] == "for the gateway"
            assert not of_the_object.keys() & found.keys()
    assert all("x-gateway-token" not in found for found in headers_of(sent, "GetObject"))


def test_headers_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """And are not shown: one may be a token."""
    monkeypatch.setenv("GATEWAY", "hidden-token")
    config = BackupStorageConfig(s3_extra_headers={"X-Gateway-Token": "${GATEWAY}"})
    assert config.s3_extra_headers == {"x-gateway-token": "hidden-token"}
    assert "hidden-token" not in repr(config)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"s3_storage_class": "GLACIER"}, ["GLACIER", "hours", "GLACIER_IR"]),
        ({"s3_storage_class": "DEEP_ARCHIVE"}, ["DEEP_ARCHIVE", "GLACIER_IR"]),
        ({"s3_storage_class": "standard ia"}, ["capital letters"]),
        ({"s3_sse_kms_key_id": KMS_KEY}, ['s3_sse="aws:kms"']),
        ({"s3_sse": "AES256", "s3_sse_kms_key_id": KMS_KEY}, ['s3_sse="aws:kms"']),
        ({"s3_extra_headers": {"Authorization": "x"}}, ["'authorization'", "signature"]),
        ({"s3_extra_headers": {"x-amz-date": "x"}}, ["'x-amz-date'", "signature"]),
        ({"s3_extra_headers": {"X-Amz-Content-Sha256": "x"}}, ["signature"]),
        ({"s3_extra_headers": {"Content-Length": "1"}}, ["signature"]),
        ({"s3_extra_headers": {"x-amz-storage-class": "STANDARD_IA"}}, ["s3_storage_class"]),
        ({"s3_extra_headers": {"x-amz-server-side-encryption": "AES256"}}, ["s3_sse"]),
        ({"s3_extra_headers": {"x-amz-object-lock-mode": "COMPLIANCE"}}, ["s3_object_lock_mode"]),
        ({"s3_extra_headers": {"x-amz-acl": "private"}}, ["bucket owner enforced"]),
        ({"s3_extra_headers": {"x-amz-request-payer": "requester"}}, ["x-amz-tagging"]),
        ({"s3_extra_headers": {"a b": "x"}}, ["no header may hold"]),
        ({"s3_extra_headers": {"x-a": "x\r\ny: z"}}, ["no header may hold"]),
        ({"s3_extra_headers": {"X-A": "1", "x-a": "2"}}, ["twice"]),
        ({"s3_object_lock_days": 0}, ["greater than or equal to 1"]),
        ({"s3_object_lock_days": 3, "s3_use_role": True}, ["role", "default retention"]),
    ],
)
def test_what_cannot_be_sent_is_refused_with_the_way_out(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValidationError) as caught:
        BackupStorageConfig(**changes)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "name", ["STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "NEARLINE"]
)
def test_classes_that_are_read_at_once_are_taken(name: str) -> None:
    assert BackupStorageConfig(s3_storage_class=name).s3_storage_class == name
