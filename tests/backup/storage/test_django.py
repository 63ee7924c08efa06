"""Storages of Django's: the contract of every storage on three of them, and what is their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage
from django.test import override_settings

from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.errors import ConfigurationError, NameTaken, NotEnoughSpace, StorageError
from django_cfg.backup.storage import open_storage
from django_cfg.backup.storage.base import Storage
from tests.backup.storage.storage_contract import StorageContract
from tests.backup.storage.test_gcs import USES, refusal
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


class Renaming(FileSystemStorage):
    """Saves under another name than the wanted one, as a storage may."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return f"other-{name}"


class Failing(FileSystemStorage):
    """Loses its place in the middle of a save."""

    def _save(self, name: str, content: Any) -> str:
        Path(self.path(name)).write_bytes(content.read(3))
        raise ConnectionError("the line is dead")


class Overtaken(FileSystemStorage):
    """Fails because another process has taken the name."""

    def _save(self, name: str, content: Any) -> str:
        Path(self.path(name)).write_bytes(b"another's")
        raise ConnectionError("the name is taken")


class Losing(FileSystemStorage):
    """Says that it has saved what it has not."""

    def _save(self, name: str, content: Any) -> str:
        Path(self.path(name)).write_bytes(content.read()[:-1])
        return name


class Secluded(FileSystemStorage):
    """One of its folders cannot be listed."""

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        if path:
            raise PermissionError(13, "Permission denied")
        return super().listdir(path)


class Impossible(FileSystemStorage):
    def __init__(self, api_key: str, location: str = "") -> None:
        raise ValueError(f"The key {api_key} is wrong")


HERE = f"{__name__}."


@contextmanager
def opened(kind: type[FileSystemStorage], folder: Path, **options: Any) -> Iterator[Storage]:
    backend = FILES if kind is FileSystemStorage else f"{HERE}{kind.__name__}"
    with override_settings(STORAGES=alias(backend, location=str(folder), **options)):
        yield open_alias()


class TestAlias:
    def test_an_unknown_alias(self) -> None:
        with pytest.raises(ConfigurationError, match="STORAGES does not offer: its aliases are: default, staticfiles"):
            open_alias("elsewhere")

    def test_a_backend_that_cannot_be_imported(self) -> None:
        with (
            override_settings(STORAGES=alias("no.such.Storage")),
            pytest.raises(ConfigurationError, match="its BACKEND cannot be imported"),
        ):
            open_alias()

    def test_options_that_the_storage_refuses(self) -> None:
        """What it says may repeat a secret."""
        with (
            override_settings(STORAGES=alias(f"{HERE}Impossible", api_key="s3cr3t-of-mine")),
            pytest.raises(
                ConfigurationError, match=r"its storage cannot be made: ValueError: The key \*\*\*"
            ) as caught,
        ):
            open_alias()
        assert "s3cr3t" not in str(caught.value)


class TestSaving:
    def test_another_name_than_the_wanted_one_is_deleted_again(self, tmp_path: Path) -> None:
        with opened(Renaming, tmp_path) as storage, pytest.raises(NameTaken, match=r"saved shop\.gz as other-shop\.gz"):
            storage.write("shop.gz", b"x")
        assert list(tmp_path.iterdir()) == []

    def test_a_save_that_fails_in_the_middle_leaves_nothing(self, tmp_path: Path) -> None:
        with opened(Failing, tmp_path) as storage:
            with pytest.raises(StorageError, match=r"Could not store shop\.gz, in STORAGES\['backups'\]: Connection"):
                storage.write("shop.gz", b"content")
            assert list(storage.list()) == []
            assert not storage.is_taken("shop")

    def test_a_failed_save_does_not_delete_the_object_of_another(self, tmp_path: Path) -> None:
        with opened(Overtaken, tmp_path) as storage, pytest.raises(StorageError, match="the name is taken"):
            storage.write("shop.gz", b"content")
        assert (tmp_path / "shop.gz").read_bytes() == b"another's"

    def test_a_save_of_fewer_bytes_is_an_error_and_leaves_nothing(self, tmp_path: Path) -> None:
        with opened(Losing, tmp_path) as storage:
            with pytest.raises(StorageError, match=r"has 6 bytes instead of 7\. Try again"):
                storage.write("shop.gz", b"content")
            assert list(storage.list()) == []

    def test_a_full_temporary_folder_says_what_to_set(
        self, tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(small_disk))
        full = pytest.raises(NotEnoughSpace, match="set TMPDIR to a folder with room for an archive")
        with opened(FileSystemStorage, tmp_path) as storage, full, storage.publish("shop.gz") as sink:
            for _ in range(4):
                sink.write(bytes(1 << 20))

    def test_a_full_folder_is_no_space(self, small_disk: Path) -> None:
        with opened(FileSystemStorage, small_disk / "backups") as storage:
            with pytest.raises(NotEnoughSpace, match=r"Could not store shop\.gz"):
                storage.write("shop.gz", bytes(4 << 20))
            assert list(storage.list()) == []


def test_a_list_that_fails_in_a_folder_is_an_error(tmp_path: Path) -> None:
    with opened(Secluded, tmp_path) as storage:
        for key in ("one.json", "folder/two.json"):
            (tmp_path / key).parent.mkdir(exist_ok=True)
            (tmp_path / key).touch()
        with pytest.raises(StorageError, match=r"Could not list the objects, in .*Permission denied"):
            list(storage.list())


class Passing(FileSystemStorage):
    """One of its objects is deleted while they are listed."""

    def get_modified_time(self, name: str) -> datetime:
        if name == "one.json":
            self.delete(name)
        return super().get_modified_time(name)


def test_an_object_that_is_deleted_while_it_is_listed_is_none(tmp_path: Path) -> None:
    with opened(Passing, tmp_path) as storage:
        for key in ("one.json", "two.json"):
            (tmp_path / key).touch()
        assert [found.key for found in storage.list()] == ["two.json"]


class Vanishing(FileSystemStorage):
    """Fails in the middle of a save, and for good."""

    is_away = False

    def _save(self, name: str, content: Any) -> str:
        (Path(self.location) / name).write_bytes(content.read(3))
        self.is_away = True
        raise ConnectionError("Connection reset")

    def exists(self, name: str) -> bool:
        if self.is_away:
            raise ConnectionError("Connection refused")
        return super().exists(name)


def test_what_cannot_be_deleted_after_a_failed_save_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The error is that of the save."""
    with opened(Vanishing, tmp_path) as storage, pytest.raises(StorageError, match="Connection reset"):
        storage.write("shop.gz", b"content")
    assert "Connection refused" in caplog.text
    assert "A part of it may be there." in caplog.text


def test_a_folder_is_not_deleted(tmp_path: Path) -> None:
    with opened(FileSystemStorage, tmp_path) as storage:
        (tmp_path / "2026").mkdir()
        storage.delete("2026")
        assert (tmp_path / "2026").is_dir()


def test_times_without_a_zone_are_those_of_the_project(tmp_path: Path) -> None:
    with override_settings(USE_TZ=False), opened(FileSystemStorage, tmp_path) as storage:
        storage.write("shop.json", b"x")
        found = storage.stat("shop.json")
        assert found is not None
        assert abs(datetime.now(UTC) - found.modified) < timedelta(seconds=30)


class TestS3Refuses:
    @pytest.mark.parametrize("use", USES)
    def test_a_wrong_key(self, s3_of_django_storages: dict[str, Any], use: str) -> None:
        s3_of_django_storages["backups"]["OPTIONS"]["secret_key"] = "s3cr3t-of-mine"
        with override_settings(STORAGES=s3_of_django_storages):
            message = refusal(open_alias(), use)
        assert "Check its OPTIONS in settings.STORAGES" in message
        assert "s3cr3t" not in message

    @pytest.mark.parametrize("use", ["write", "list", "is_taken"])  # a 404 to HEAD does not say what is missing
    def test_a_missing_bucket(self, s3_of_django_storages: dict[str, Any], use: str) -> None:
        s3_of_django_storages["backups"]["OPTIONS"]["bucket_name"] = "no-such-bucket"
        with override_settings(STORAGES=s3_of_django_storages):
            assert "NoSuchBucket" in refusal(open_alias(), use)
