"""The S3 storage: the contract of every storage with a real server, and the promises of a bucket."""

from __future__ import annotations

import random

import pytest

from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.errors import ConfigurationError, NameTaken, StorageError
from django_cfg.backup.storage import open_storage
from django_cfg.backup.storage.base import Storage
from django_cfg.backup.storage.object_store import upload
from django_cfg.backup.storage.object_store.storage import ObjectStorage
from tests.backup.storage.storage_contract import StorageContract
from tests.support.faulty_s3_proxy import FaultyProxy, on_condition
from tests.support.s3_server import S3Server

REOPEN = """
from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.storage import open_storage
storage = open_storage(BackupStorageConfig(**{parameters!r}), None)
"""
ODD = ["sp ace", "ünï/cödé", "日本", "pl+us", "per%cent", "per%2Fcent", "ha#sh", "q?x", "a&b=c", "ti~lde", "st*ar",
       "br[a]c{k}ets", "quo\"te's", "back`tick", "a|b<c>", "@:,;!$()"]  # fmt: skip


class TestS3Storage(StorageContract):
    @pytest.fixture
    def endpoint(self, s3_server: S3Server) -> str:
        return s3_server.endpoint

    @pytest.fixture
    def storage(self, s3_server: S3Server, bucket: str, endpoint: str) -> ObjectStorage:
        return s3_server.storage(bucket, s3_endpoint_url=endpoint)

    @pytest.fixture
    def reopen(self, s3_server: S3Server, bucket: str, endpoint: str) -> str:
        return REOPEN.format(parameters={**s3_server.parameters(bucket), "s3_endpoint_url": endpoint})

    class TestNothingIsOverwritten(StorageContract.TestNothingIsOverwritten):
        """On a service that creates on condition, as AWS, R2 and MinIO do. rclone does not: the proxy adds it."""

        @pytest.fixture
        def endpoint(self, proxy: FaultyProxy) -> str:
            proxy.every("PutObject", on_condition())
            return proxy.endpoint

    class TestList(StorageContract.TestList):
        def test_more_objects_than_one_page_are_listed(
            self, storage: Storage, s3_server: S3Server, bucket: str
        ) -> None:
            """As many pages are asked for as it takes. They are put on the server's disk: uploads take their time."""
            keys = {f"{number % 7}/{number:04}.json" for number in range(2_050)}
            for key in keys:
                path = s3_server.data / bucket / "db-backups" / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"x")
            assert {found.key for found in storage.list()} == keys

    class TestIsTaken(StorageContract.TestIsTaken):
        test_a_name_is_taken_by_an_object_that_is_being_written = (
            None  # S3 shows nothing of it; two of one name meet at the end of the second
        )

    class TestOneObject(StorageContract.TestOneObject):
        @pytest.mark.parametrize("key", ["missing.gz", "no/such/folder.gz"])  # for shop.gz/below rclone removes shop.gz
        def test_deleting_a_missing_object_is_no_error(self, storage: Storage, key: str) -> None:
            super().test_deleting_a_missing_object_is_no_error(storage, key)


@pytest.fixture
def storage(s3_server: S3Server, bucket: str) -> ObjectStorage:
    return s3_server.storage(bucket)


class TestTakenNames:
    """Also on a service without conditional writes, where the storage checks before it writes."""

    def test_an_existing_name_is_refused_before_writing(self, storage: ObjectStorage) -> None:
        storage.write("shop.gz", b"first")
        with pytest.raises(NameTaken), storage.publish("shop.gz"):
            pytest.fail("the block was entered")
        assert storage.read("shop.gz") == b"first"

    def test_an_object_created_in_the_meantime_stays_and_the_upload_is_aborted(
        self, storage: ObjectStorage, s3_server: S3Server, bucket: str
    ) -> None:
        big = bytes(upload.SMALLEST_PART + 5)
        with pytest.raises(NameTaken), storage.publish("shop.gz") as sink:  # noqa: PT012
            sink.write(big)
            storage.write("shop.gz", b"fast")
        assert storage.read("shop.gz") == b"fast"
        assert s3_server.files(bucket) == ["db-backups/shop.gz"]


class TestPublishInParts:
    def test_many_parts_become_one_object(self, storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> None:
        """Written in blocks of another size than the parts, and larger than expected."""
        monkeypatch.setattr(upload, "SMALLEST_PART", 5 * upload.MIB)
        content = random.Random(1).randbytes(33 * upload.MIB + 7)
        with storage.publish("shop.gz", expected_size=1000) as sink:
            for start in range(0, len(content), 700_001):
                sink.write(content[start : start + 700_001])
        assert storage.read("shop.gz") == content

    @pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
    def test_an_exception_aborts_the_upload(
        self, storage: ObjectStorage, s3_server: S3Server, bucket: str, kind: type[BaseException]
    ) -> None:
        """Neither an object nor a part is left on the server's disk."""
        with pytest.raises(kind), storage.publish("shop.gz") as sink:  # noqa: PT012
            for _ in range(40):
                sink.write(bytes(upload.MIB))
            assert any("rclone_temp" in name for name in s3_server.files(bucket))  # it had begun
            raise kind
        assert s3_server.files(bucket) == []
        assert not storage.is_taken("shop")

    def test_a_stream_much_larger_than_expected_is_an_error(
        self, storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is raised before the service would refuse part 10,001."""
        monkeypatch.setattr(upload, "SMALLEST_PART", 5 * upload.MIB)
        monkeypatch.setattr(upload, "MOST_PARTS", 2)
        too_large = pytest.raises(StorageError, match=r"larger than 10\.5 MB.*Nothing was published")
        with too_large, storage.publish("a") as sink:
            sink.write(bytes(11 * upload.MIB))
        assert list(storage.list()) == []


class TestPartSize:
    @pytest.mark.parametrize("size", [0, 1, 10**6, 10**9, 10**11, 10**12, 5 * 2**40])
    def test_ten_thousand_parts_hold_twice_the_database_up_to_5_tib(self, size: int) -> None:
        most = upload.part_size(size) * upload.MOST_PARTS
        assert most >= min(2 * size, 5 * 2**40)

    @pytest.mark.parametrize(("size", "most"), [(0, 40), (10**9, 40), (39 * 10**9, 40), (117 * 10**9, 46)])
    def test_common_databases_need_little_memory_for_their_parts(self, size: int, most: int) -> None:
        part = upload.part_size(size)
        assert part * (upload.parts_at_once(part) + 1) <= most * upload.MIB

    def test_part_sizes_are_full_mib_within_the_limits_of_the_services(self) -> None:
        for size in (0, 10**11, 10**12, 10**14):
            part = upload.part_size(size)
            assert part % upload.MIB == 0
            assert 5 * upload.MIB <= part <= 5 * 2**30


class TestKeys:
    @pytest.mark.parametrize("name", ODD)
    def test_special_characters_in_keys_are_kept(
        self, storage: ObjectStorage, s3_server: S3Server, bucket: str, name: str
    ) -> None:
        """On the server the key is unchanged, not encoded."""
        key = f"{name}.sqlite3.gz"
        storage.write(key, b"x")
        assert storage.read(key) == b"x"
        assert [found.key for found in storage.list()] == [key]
        assert storage.is_taken(name)
        assert s3_server.files(bucket) == [f"db-backups/{key}"]
        storage.delete(key)
        assert list(storage.list()) == []

    @pytest.mark.parametrize(
        ("prefix", "folder"),
        [("", ""), ("/", ""), ("one", "one/"), ("one/", "one/"), ("/a/b/c", "a/b/c/"), ("sp ace/ü%", "sp ace/ü%/")],
    )
    def test_a_prefix_is_a_folder_in_every_notation(
        self, s3_server: S3Server, bucket: str, prefix: str, folder: str
    ) -> None:
        """Objects next to it are not seen."""
        storage = s3_server.storage(bucket, s3_prefix=prefix)
        storage.write("2026/shop.gz", b"x")
        assert s3_server.files(bucket) == [f"{folder}2026/shop.gz"]
        assert [found.key for found in storage.list()] == ["2026/shop.gz"]
        assert storage.is_taken("2026/shop")
        if folder:
            s3_server.storage(bucket, s3_prefix=folder.rstrip("/") + "-2").write("shop.gz", b"x")
            assert [found.key for found in storage.list()] == ["2026/shop.gz"]

    @pytest.mark.parametrize("prefix", ["a//b", "../a", "a/../b", "a/./b", "a\nb"])
    def test_an_unusable_prefix_is_refused_by_name(self, s3_server: S3Server, prefix: str) -> None:
        with pytest.raises(ConfigurationError, match="s3_prefix"):
            s3_server.storage("any", s3_prefix=prefix)


class TestReadMany:
    def test_results_are_in_the_order_of_the_keys_with_parallel_requests(
        self, s3_server: S3Server, bucket: str
    ) -> None:
        """Hundreds of manifests, two of them gone."""
        storage = s3_server.storage(bucket)
        keys = [f"{number:04}.json" for number in range(300)]
        folder = s3_server.data / bucket / "db-backups"
        folder.mkdir()
        for key in keys:
            (folder / key).write_text(key)
        gone = {keys[0], keys[150]}
        for key in gone:
            (folder / key).unlink()
        found = list(storage.read_many(keys))
        assert [key for key, _ in found] == keys
        assert {key for key, data in found if isinstance(data, StorageError)} == gone
        assert all(data == key.encode() for key, data in found if key not in gone)

    def test_an_abandoned_iteration_ends(self, storage: ObjectStorage) -> None:
        storage.write("a.json", b"1")
        reading = storage.read_many(["a.json"] * 100)
        assert next(reading) == ("a.json", b"1")
        reading.close()


def test_a_large_object_is_streamed(storage: ObjectStorage) -> None:
    content = random.Random(2).randbytes(40 * upload.MIB + 3)
    with storage.publish("shop.gz") as sink:
        sink.write(content)
    with storage.open("shop.gz") as source:
        assert b"".join(iter(lambda: source.read(1_000_003), b"")) == content
    with storage.open("shop.gz") as source:
        assert source.read(3) == content[:3]  # and no more


def test_the_error_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch, s3_server: S3Server) -> None:
    monkeypatch.setattr("django_cfg.backup.storage.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'django-cfg-backup\[s3\]'"):
        open_storage(s3_server.config("any"), None)


def test_opening_a_storage_makes_no_connection() -> None:
    config = BackupStorageConfig(backend="s3", s3_bucket="b", s3_access_key="a", s3_secret_key="s")
    assert open_storage(config, None).location == "s3://b/db-backups/"
    assert open_storage(config, None).free_space() is None
