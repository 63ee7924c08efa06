"""Storages of Django's: the contract of every storage on three of them, and what is their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.storage import open_storage
from django_cfg.backup.storage.base import Storage
from tests.backup.storage.storage_contract import StorageContract
from tests.support.s3_server import S3Server

FILES = "django.core.files.storage.FileSystemStorage"
REOPEN = """
import django
from django.conf import settings
settings.configure(STORAGES={storages!r}, USE_TZ=True)
django.setup()
from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.storage import open_storage
storage = open_storage(BackupStorageConfig(backend="django", django_alias="backups"), None)
"""


def alias(backend: str, **options: Any) -> dict[str, Any]:
    return {"backups": {"BACKEND": backend, "OPTIONS": options}}


def open_alias(name: str = "backups") -> Storage:
    return open_storage(BackupStorageConfig(backend="django", django_alias=name), None)


class DjangoContract(StorageContract):
    """Define ``entry``, of settings.STORAGES."""

    @pytest.fixture
    def storage(self, entry: dict[str, Any]) -> Iterator[Storage]:
        with override_settings(STORAGES=entry):
            yield open_alias()

    @pytest.fixture
    def reopen(self, entry: dict[str, Any]) -> str:
        return REOPEN.format(storages=entry)

    class TestIsTaken(StorageContract.TestIsTaken):
        test_a_name_is_taken_by_an_object_that_is_being_written = None  # it is on this machine until its end


class TestFileSystemStorage(DjangoContract):
    @pytest.fixture
    def entry(self, tmp_path: Path) -> dict[str, Any]:
        return alias(FILES, location=str(tmp_path / "backups"))


class TestInMemoryStorage(DjangoContract):
    @pytest.fixture
    def entry(self) -> dict[str, Any]:
        return alias("django.core.files.storage.InMemoryStorage")

    class TestPublish(DjangoContract.TestPublish):
        test_a_killed_writer_publishes_nothing = None  # another process has another memory

    class TestNothingIsOverwritten(DjangoContract.TestNothingIsOverwritten):
        test_exactly_one_of_racing_processes_succeeds = None


class TestS3OfDjangoStorages(DjangoContract):
    @pytest.fixture
    def entry(self, s3_server: S3Server) -> dict[str, Any]:
        access_key, secret_key = s3_server.keys
        return alias(
            "storages.backends.s3.S3Storage",
            bucket_name=s3_server.new_bucket(),
            endpoint_url=s3_server.endpoint,
            access_key=access_key,
            secret_key=secret_key,
            region_name="us-east-1",
        )
