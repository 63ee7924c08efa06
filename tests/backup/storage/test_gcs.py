"""Google Cloud Storage: the contract of every storage, and what is its own."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.errors import ConfigurationError, NameTaken, ObjectLocked, StorageError
from django_cfg.backup.storage import open_storage
from django_cfg.backup.storage.base import Storage
from django_cfg.backup.storage.object_store import client, upload
from django_cfg.backup.storage.object_store.storage import ObjectStorage
from tests.backup.storage.storage_contract import StorageContract
from tests.backup.storage.test_s3 import REOPEN
from tests.support.faulty_s3_proxy import drop, status
from tests.support.gcs_server import GCSServer
from tests.support.token_server import TokenServer


@pytest.fixture
def bucket(gcs_server: GCSServer) -> str:
    return gcs_server.server.new_bucket()


@pytest.fixture
def storage(gcs_server: GCSServer, bucket: str) -> ObjectStorage:
    return gcs_server.storage(bucket)


class TestGCSStorage(StorageContract):
    @pytest.fixture
    def storage(self, gcs_server: GCSServer, bucket: str) -> ObjectStorage:
        return gcs_server.storage(bucket)

    @pytest.fixture
    def reopen(self, gcs_server: GCSServer, bucket: str) -> str:
        return REOPEN.format(parameters=gcs_server.parameters(bucket))

    class TestList(StorageContract.TestList):
        def test_more_objects_than_one_page_are_listed(
            self, storage: Storage, gcs_server: GCSServer, bucket: str
        ) -> None:
            """They are put on the server's disk: uploads take their time."""
            keys = {f"{number % 7}/{number:04}.json" for number in range(2_050)}
            for key in keys:
                path = gcs_server.server.data / bucket / "db-backups" / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"x")
            assert {found.key for found in storage.list()} == keys

    class TestIsTaken(StorageContract.TestIsTaken):
        test_a_name_is_taken_by_an_object_that_is_being_written = None  # as on S3

    class TestOneObject(StorageContract.TestOneObject):
        @pytest.mark.parametrize("key", ["missing.gz", "no/such/folder.gz"])  # for shop.gz/below rclone removes shop.gz
        def test_deleting_a_missing_object_is_no_error(self, storage: Storage, key: str) -> None:
            super().test_deleting_a_missing_object_is_no_error(storage, key)


USES: dict[str, Callable[[Storage], object]] = {
    "write": lambda storage: storage.write("shop.json", b"x"),
    "read": lambda storage: storage.read("shop.json"),
    "stat": lambda storage: storage.stat("shop.json"),
    "list": lambda storage: list(storage.list()),
    "delete": lambda storage: storage.delete("shop.json"),
    "is_taken": lambda storage: storage.is_taken("shop"),
}


def refusal(storage: Storage, use: str = "write") -> str:
    with pytest.raises(StorageError) as caught:
        USES[use](storage)
    return str(caught.value)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    soon = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=10)}
    quick = {"max_retries": 1, "retry_timeout": timedelta(seconds=5), "backoff": soon}
    monkeypatch.setattr(client, "_PART_RETRIES", quick)
    monkeypatch.setattr(client, "_REQUEST_RETRIES", quick)


@pytest.fixture
def faults(gcs_server: GCSServer, hasty: None) -> Iterator[GCSServer]:
    """The server, to be broken."""
    yield gcs_server
    gcs_server.repair()


class TestCredentials:
    @pytest.mark.parametrize("use", USES)
    def test_a_key_that_the_service_does_not_know(self, gcs_server: GCSServer, bucket: str, use: str) -> None:
        other = gcs_server.new_account("other")
        message = refusal(gcs_server.storage(bucket, gcs_credentials=other), use)
        assert "the credentials are not accepted: make a new key of the service account for gcs_credentials" in message
        assert "PRIVATE KEY" not in message

    def test_the_path_of_a_file_is_accepted(self, gcs_server: GCSServer, bucket: str) -> None:
        storage = gcs_server.storage(bucket, gcs_credentials=str(gcs_server.credentials_file))
        storage.write("shop.json", b"x")
        assert storage.read("shop.json") == b"x"

    def test_a_file_that_is_not_there(self, gcs_server: GCSServer, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"names a file \(/.*/none.json\) that cannot be read: No"):
            gcs_server.storage("any", gcs_credentials=str(tmp_path / "none.json"))

    @pytest.mark.parametrize(
        "wrong", ['{"type": "authorized_user", "refresh_token": "s3cr3t-of-mine"}', '{"s3cr3t-of-mine"', "{}"]
    )
    def test_json_that_is_no_key_of_a_service_account(self, gcs_server: GCSServer, wrong: str) -> None:
        with pytest.raises(ConfigurationError, match="is no key of a service account: it takes the JSON") as caught:
            gcs_server.storage("any", gcs_credentials=wrong)
        assert "s3cr3t" not in str(caught.value)

    def test_a_secret_in_the_place_of_a_path_is_not_repeated(self, gcs_server: GCSServer) -> None:
        with pytest.raises(ConfigurationError, match="names a file that cannot be read") as caught:
            gcs_server.storage("any", gcs_credentials="s3cr3t-of-mine")
        assert "s3cr3t" not in str(caught.value)

    def test_a_damaged_private_key(self, gcs_server: GCSServer) -> None:
        broken = gcs_server.credentials.replace("BEGIN PRIVATE", "BEGUN PRIVATE")
        message = refusal(gcs_server.storage("any", gcs_credentials=broken))
        assert "the private_key in gcs_credentials is no RSA key in PEM form" in message

    def test_without_a_key_the_variable_of_googles_programs_counts(
        self, gcs_server: GCSServer, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(gcs_server.credentials_file))
        storage = gcs_server.storage(bucket, gcs_credentials=None)
        storage.write("shop.json", b"x")
        assert [found.key for found in storage.list()] == ["shop.json"]

    def test_without_any_key_the_metadata_server_is_asked(
        self, gcs_server: GCSServer, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        metadata = TokenServer("token-of-the-machine")
        monkeypatch.setenv("GCE_METADATA_HOST", metadata.address)
        monkeypatch.setenv("HOME", "/nonexistent")
        gcs_server.static_token = metadata.token
        try:
            gcs_server.storage(bucket, gcs_credentials=None).write("shop.json", b"x")
            assert set(metadata.paths) == {"/computeMetadata/v1/instance/service-accounts/default/token"}
        finally:
            gcs_server.static_token = ""
            metadata.stop()

    @pytest.mark.parametrize(
        "variable", ["GOOGLE_BEARER_TOKEN", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"]
    )
    def test_a_variable_that_would_replace_the_key_is_an_error(
        self, gcs_server: GCSServer, monkeypatch: pytest.MonkeyPatch, variable: str
    ) -> None:
        monkeypatch.setenv(variable, "s3cr3t-of-mine")
        with pytest.raises(ConfigurationError, match=f"the variable {variable} of the environment") as caught:
            gcs_server.storage("any")
        assert "s3cr3t" not in str(caught.value)

    @pytest.mark.parametrize("variable", ["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT_KEY"])
    def test_variables_of_other_programs_change_nothing(
        self, gcs_server: GCSServer, bucket: str, monkeypatch: pytest.MonkeyPatch, variable: str
    ) -> None:
        monkeypatch.setenv(variable, "/nonexistent")
        monkeypatch.setenv("GOOGLE_BUCKET", "another")
        monkeypatch.setenv("GOOGLE_BASE_URL", "http://127.0.0.1:1")
        monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
        gcs_server.storage(bucket).write("shop.json", b"x")
        assert gcs_server.server.files(bucket) == ["db-backups/shop.json"]

    def test_a_machine_without_credentials(
        self, gcs_server: GCSServer, bucket: str, monkeypatch: pytest.MonkeyPatch, hasty: None
    ) -> None:
        monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:1")
        monkeypatch.setenv("GCE_METADATA_IP", "127.0.0.1:1")
        monkeypatch.setenv("HOME", "/nonexistent")
        assert "this machine gives no credentials" in refusal(gcs_server.storage(bucket, gcs_credentials=None))


class TestRefusals:
    @pytest.mark.parametrize("use", USES)
    def test_no_such_bucket(self, gcs_server: GCSServer, use: str) -> None:
        message = refusal(gcs_server.storage("no-such-bucket"), use)
        assert "there is no such bucket: check gcs_bucket" in message
        assert "gs://no-such-bucket/db-backups/" in message

    @pytest.mark.parametrize(
        ("use", "kind"), [("write", "PutObject"), ("list", "ListObjects"), ("delete", "DeleteObject")]
    )
    def test_an_account_that_may_not(self, faults: GCSServer, bucket: str, use: str, kind: str) -> None:
        faults.every(kind, status(403, "AccessDenied", "Access denied."))
        assert "the role Storage Object User on the bucket gcs_bucket" in refusal(faults.storage(bucket), use)

    def test_a_retention_policy_has_its_own_error(self, faults: GCSServer, bucket: str) -> None:
        why = "Object 'b/x' is subject to bucket's retention policy and cannot be deleted."
        faults.every("DeleteObject", status(403, "RetentionPolicyNotMet", why))
        with pytest.raises(ObjectLocked, match="it is locked"):
            faults.storage(bucket).delete("shop.json")

    def test_a_list_that_fails_half_way_is_an_error(self, faults: GCSServer, bucket: str) -> None:
        folder = faults.server.data / bucket / "db-backups"
        folder.mkdir()
        for number in range(1_050):
            (folder / f"{number:04}.json").touch()
        faults.next("ListObjects", lambda exchange: exchange.forward())
        faults.every("ListObjects", status(500))
        with pytest.raises(StorageError, match="Could not list the objects"):
            list(faults.storage(bucket).list())

    def test_a_service_that_dies_during_an_upload_publishes_nothing(self, faults: GCSServer, bucket: str) -> None:
        storage = faults.storage(bucket)
        with pytest.raises(StorageError, match=r"Could not store shop\.gz"), storage.publish("shop.gz") as sink:  # noqa: PT012
            sink.write(bytes(upload.SMALLEST_PART))
            faults.every("UploadPart", drop)
            faults.every("CompleteMultipartUpload", drop)
            sink.write(bytes(upload.SMALLEST_PART))
        faults.repair()
        assert list(storage.list()) == []
        assert not storage.is_taken("shop")

    def test_an_object_created_in_the_meantime_stays_and_the_upload_is_aborted(
        self, storage: ObjectStorage, gcs_server: GCSServer, bucket: str
    ) -> None:
        with pytest.raises(NameTaken), storage.publish("shop.gz") as sink:  # noqa: PT012
            sink.write(bytes(upload.SMALLEST_PART + 5))
            storage.write("shop.gz", b"fast")
        assert storage.read("shop.gz") == b"fast"
        assert gcs_server.server.files(bucket) == ["db-backups/shop.gz"]

    def test_many_parts_become_one_object(self, storage: ObjectStorage) -> None:
        content = random.Random(1).randbytes(2 * upload.SMALLEST_PART + 7)
        with storage.publish("shop.gz") as sink:
            sink.write(content)
        assert storage.read("shop.gz") == content

    def test_a_service_that_does_not_answer(
        self, faults: GCSServer, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client, "_REQUEST", timedelta(seconds=0.2))
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = f"http://127.0.0.1:{silent.getsockname()[1]}"
            message = refusal(faults.storage(bucket, gcs_endpoint_url=address), "list")
        assert "did not answer in time: check gcs_endpoint_url" in message

    def test_nothing_listens(self, gcs_server: GCSServer, hasty: None) -> None:
        message = refusal(gcs_server.storage("any", gcs_endpoint_url="http://127.0.0.1:1"))
        assert "connection refused): check gcs_endpoint_url" in message


def test_the_error_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_cfg.backup.storage.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'django-cfg-backup\[gcs\]'"):
        open_storage(BackupStorageConfig(backend="gcs", gcs_bucket="b"), None)


def test_an_endpoint_with_a_secret_is_refused_and_not_repeated(gcs_server: GCSServer) -> None:
    with pytest.raises(ConfigurationError, match="gcs_endpoint_url may hold a host") as caught:
        gcs_server.storage("any", gcs_endpoint_url="https://user:s3cr3t@example.org")
    assert "s3cr3t" not in str(caught.value)
