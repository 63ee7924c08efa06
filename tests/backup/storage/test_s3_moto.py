"""The S3 storage on a second server by other hands, which creates on condition without help."""

from __future__ import annotations

import pytest

from django_cfg.backup.errors import StorageError
from django_cfg.backup.storage.object_store import upload
from django_cfg.backup.storage.object_store.storage import ObjectStorage
from tests.backup.storage.storage_contract import StorageContract
from tests.backup.storage.test_s3 import REOPEN
from tests.support.moto_server import MotoServer


@pytest.fixture
def bucket(moto_server: MotoServer) -> str:
    return moto_server.new_bucket()


@pytest.fixture
def storage(moto_server: MotoServer, bucket: str) -> ObjectStorage:
    return moto_server.storage(bucket)


class TestS3StorageOnMoto(StorageContract):
    @pytest.fixture
    def storage(self, moto_server: MotoServer, bucket: str) -> ObjectStorage:
        return moto_server.storage(bucket)

    @pytest.fixture
    def reopen(self, moto_server: MotoServer, bucket: str) -> str:
        return REOPEN.format(parameters=moto_server.parameters(bucket))

    class TestIsTaken(StorageContract.TestIsTaken):
        test_a_name_is_taken_by_an_object_that_is_being_written = None  # S3 shows nothing of it


def test_many_parts_become_one_object(storage: ObjectStorage) -> None:
    content = bytes(range(256)) * (2 * upload.SMALLEST_PART // 256) + b"end"
    with storage.publish("shop.gz") as sink:
        sink.write(content)
    assert storage.read("shop.gz") == content
    assert [found.size for found in storage.list()] == [len(content)]


def test_a_missing_bucket_is_an_error_for_a_list_as_for_an_upload(moto_server: MotoServer) -> None:
    storage = moto_server.storage("no-such-bucket")
    with pytest.raises(StorageError, match="there is no such bucket: check s3_bucket"):
        list(storage.list())
    with pytest.raises(StorageError, match="there is no such bucket: check s3_bucket"):
        storage.write("shop.json", b"x")
