"""The S3 storage: the contract over a real server, and what a bucket promises beyond it."""

from __future__ import annotations

import pytest

from django_cfg.backup.storage.s3 import S3Storage
from tests.backup.storage.contract import StorageContract
from tests.backup.storage.faulty_proxy import FaultyProxy, on_condition
from tests.backup.storage.s3_server import S3Server

REOPEN = """
from django_cfg.backup.config import BackupStorageConfig
from django_cfg.backup.storage import open_storage
storage = open_storage(BackupStorageConfig(**{parameters!r}), None)
"""


class TestS3Storage(StorageContract):
    """On a service that creates on condition, as AWS, R2 and MinIO do. rclone does not: the proxy adds it."""

    @pytest.fixture
    def parameters(self, s3_server: S3Server, bucket: str, proxy: FaultyProxy) -> dict[str, object]:
        proxy.every("PutObject", on_condition())
        return {**s3_server.parameters(bucket), "s3_endpoint_url": proxy.endpoint}

    @pytest.fixture
    def storage(self, s3_server: S3Server, bucket: str, proxy: FaultyProxy, parameters: dict[str, object]) -> S3Storage:
        return s3_server.storage(bucket, s3_endpoint_url=proxy.endpoint)

    @pytest.fixture
    def reopen(self, parameters: dict[str, object]) -> str:
        return REOPEN.format(parameters=parameters)

    class TestIsTaken(StorageContract.TestIsTaken):
        test_by_one_that_is_being_written = None  # S3 shows nothing of an upload under way; its end finds out
