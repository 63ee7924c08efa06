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


@pytest.fixture
def s3_of_django_storages(s3_server: S3Server, bucket: str) -> dict[str, Any]:
    access_key, secret_key = s3_server.keys
    return alias(
        "storages.backends.s3.S3Storage",
        bucket_name=bucket,
        endpoint_url=s3_server.endpoint,
        access_key=access_key,
        secret_key=secret_key,
        region_name="us-east-1",
    )


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

    class TestOneObject(DjangoContract.TestOneObject):
        test_two_readers_do_not_disturb_each_other = None  # it hands out one file to both


class TestS3OfDjangoStorages(DjangoContract):
    @pytest.fixture
    def entry(self, s3_of_django_storages: dict[str, Any]) -> dict[str, Any]:
        return s3_of_django_storages

    class TestNothingIsOverwritten(DjangoContract.TestNothingIsOverwritten):
        # It looks before it writes; of several that end in one moment the last one replaces the others.
        test_exactly_one_of_racing_threads_succeeds = None
        test_exactly_one_of_racing_processes_succeeds = None

    class TestList(DjangoContract.TestList):
        def test_more_objects_than_one_page_are_listed(
            self, storage: Storage, s3_server: S3Server, bucket: str
        ) -> None:
            """They are put on the server's disk: django-storages takes a minute for a thousand uploads."""
            keys = {f"{number % 7}/{number:04}.json" for number in range(1_050)}
            for key in keys:
                path = s3_server.data / bucket / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"x")
            assert {found.key for found in storage.list()} == keys
