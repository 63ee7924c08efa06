"""Google Cloud Storage: the contract of every storage, and what is its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_cfg.backup.storage.base import Storage
from django_cfg.backup.storage.gcs import GCSStorage
from tests.backup.storage.storage_contract import StorageContract
from tests.backup.storage.test_s3 import REOPEN
from tests.support.gcs_server import GCSServer


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GCSServer]:
    server = GCSServer(tmp_path_factory.mktemp("gcs"))
    yield server
    server.stop()


@pytest.fixture
def bucket(gcs_server: GCSServer) -> str:
    return gcs_server.server.new_bucket()


@pytest.fixture
def storage(gcs_server: GCSServer, bucket: str) -> GCSStorage:
    return gcs_server.storage(bucket)


class TestGCSStorage(StorageContract):
    @pytest.fixture
    def storage(self, gcs_server: GCSServer, bucket: str) -> GCSStorage:
        return gcs_server.storage(bucket)

    @pytest.fixture
    def reopen(self, gcs_server: GCSServer, bucket: str) -> str:
        return REOPEN.format(parameters=gcs_server.parameters(bucket))

    class TestIsTaken(StorageContract.TestIsTaken):
        test_a_name_is_taken_by_an_object_that_is_being_written = None  # as on S3

    class TestOneObject(StorageContract.TestOneObject):
        @pytest.mark.parametrize("key", ["missing.gz", "no/such/folder.gz"])  # for shop.gz/below rclone removes shop.gz
        def test_deleting_a_missing_object_is_no_error(self, storage: Storage, key: str) -> None:
            super().test_deleting_a_missing_object_is_no_error(storage, key)
