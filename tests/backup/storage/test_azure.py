"""Azure Blob Storage: the contract of every storage, and what is its own."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from urllib.request import Request, urlopen

import pytest

from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.errors import ConfigurationError, NameTaken, ObjectLocked, StorageError
from django_cfg.backup.storage import open_storage
from django_cfg.backup.storage.base import Storage
from django_cfg.backup.storage.object_store import client, upload
from django_cfg.backup.storage.object_store.storage import ObjectStorage
from tests.backup.storage.storage_contract import StorageContract
from tests.backup.storage.test_gcs import USES, hasty, refusal
from tests.backup.storage.test_s3 import REOPEN
from tests.support.azurite import KEY, Azurite
from tests.support.faulty_s3_proxy import Answer, Exchange, FaultyProxy, drop, status
from tests.support.token_server import TokenServer

__all__ = ["hasty"]


@pytest.fixture
def container(azurite: Azurite) -> str:
    return azurite.new_container()


@pytest.fixture
def storage(azurite: Azurite, container: str) -> ObjectStorage:
    return azurite.storage(container)


class TestAzureStorage(StorageContract):
    @pytest.fixture
    def storage(self, azurite: Azurite, container: str) -> ObjectStorage:
        return azurite.storage(container)

    @pytest.fixture
    def reopen(self, azurite: Azurite, container: str) -> str:
        return REOPEN.format(parameters=azurite.parameters(container))

    class TestList(StorageContract.TestList):
        def test_more_objects_than_one_page_are_listed(
            self, azurite: Azurite, container: str, storage: Storage, proxy: FaultyProxy
        ) -> None:
            """Azure lists five thousand at a time; here the proxy asks for ten. A token signs no query."""

            def short_page(exchange: Exchange) -> Answer:
                exchange.target += "&maxresults=10"
                return exchange.forward()

            keys = {f"{number % 7}/{number:04}.json" for number in range(45)}
            for key in keys:
                storage.write(key, b"x")
            token, endpoint = azurite.sas_token(container, "rl"), f"{proxy.endpoint}/devstoreaccount1"
            proxy.every("GetObject", short_page)
            listing = azurite.storage(
                container, azure_account_key=None, azure_sas_token=token, azure_endpoint_url=endpoint
            )
            assert {found.key for found in listing.list()} == keys
            assert proxy.seen == ["GetObject"] * 5

    class TestIsTaken(StorageContract.TestIsTaken):
        test_a_name_is_taken_by_an_object_that_is_being_written = None  # as on S3


@pytest.fixture
def proxy(azurite: Azurite, hasty: None) -> Iterator[FaultyProxy]:
    """A proxy without faults yet. It has S3's words for Azure's requests: a list is a GetObject, a part a PutObject."""
    proxy = FaultyProxy(SimpleNamespace(port=azurite.port, data=Path("/nonexistent")))  # type: ignore[arg-type]
    yield proxy
    proxy.stop()


@pytest.fixture
def broken(azurite: Azurite, container: str, proxy: FaultyProxy) -> ObjectStorage:
    """A storage behind the proxy."""
    return azurite.storage(container, azure_endpoint_url=f"{proxy.endpoint}/devstoreaccount1")


class TestCredentials:
    @pytest.mark.parametrize("use", USES)
    def test_a_wrong_key(self, azurite: Azurite, container: str, use: str) -> None:
        message = refusal(azurite.storage(container, azure_account_key="d3Jvbmctd3Jvbmctd3Jvbmc="), use)
        assert "azure_account_key or azure_sas_token is wrong or has expired" in message
        assert "d3Jvbmc" not in message

    @pytest.mark.parametrize("key", ["no base64!", f"AccountKey={KEY}"])
    def test_a_key_that_cannot_be_one(self, azurite: Azurite, key: str) -> None:
        with pytest.raises(ConfigurationError, match="azure_account_key is no key of a storage account") as caught:
            azurite.storage("any", azure_account_key=key)
        assert key not in str(caught.value)

    @pytest.mark.parametrize("account", ["https://shop.blob.core.windows.net", "Shop", "a/b"])
    def test_an_account_that_is_an_address(self, azurite: Azurite, account: str) -> None:
        with pytest.raises(ConfigurationError, match="is the name of the storage account alone"):
            azurite.storage("any", azure_account=account)

    @pytest.mark.parametrize("mark", ["", "?"])
    def test_a_token_takes_the_place_of_the_key(self, azurite: Azurite, container: str, mark: str) -> None:
        token = mark + azurite.sas_token(container, "rcwdl")
        storage = azurite.storage(container, azure_account_key=None, azure_sas_token=token)
        storage.write("shop.json", b"x")
        with storage.publish("shop.gz") as sink:
            sink.write(bytes(upload.SMALLEST_PART + 1))
        assert {found.key for found in storage.list()} == {"shop.json", "shop.gz"}
        storage.delete("shop.json")
        assert storage.stat("shop.json") is None

    def test_a_token_that_only_reads(self, azurite: Azurite, container: str) -> None:
        azurite.storage(container).write("old.json", b"x")
        token = azurite.sas_token(container, "rl")
        storage = azurite.storage(container, azure_account_key=None, azure_sas_token=token)
        assert storage.read("old.json") == b"x"
        message = refusal(storage, "write")
        assert "an azure_sas_token needs the permissions rwdlc on the container" in message
        assert token.rpartition("=")[2] not in message
        with pytest.raises(StorageError, match=r"Could not delete old\.json"):
            storage.delete("old.json")
        assert storage.read("old.json") == b"x"

    def test_a_token_that_has_expired(self, azurite: Azurite, container: str) -> None:
        token = azurite.sas_token(container, "rcwdl", hours=-1)
        message = refusal(azurite.storage(container, azure_account_key=None, azure_sas_token=token))
        assert "azure_sas_token is wrong or has expired" in message

    def test_a_text_that_is_no_token(self, azurite: Azurite) -> None:
        with pytest.raises(ConfigurationError, match="azure_sas_token is no shared access signature") as caught:
            azurite.storage("any", azure_account_key=None, azure_sas_token="s3cr3t-of-mine")
        assert "s3cr3t" not in str(caught.value)

    def test_without_a_key_the_managed_identity_is_asked(
        self, azurite: Azurite, container: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Azurite takes no such token over plain HTTP: what is sent to it is looked at."""
        identity, sent = TokenServer("token-of-the-machine"), []

        def refused(exchange: Exchange) -> Answer:
            sent.append(exchange.headers["authorization"])
            return status(403, "AuthorizationPermissionMismatch", "Not authorized.")(exchange)

        monkeypatch.setenv("AZURE_MSI_ENDPOINT", f"http://{identity.address}/token")
        proxy.every("GetObject", refused)
        try:
            endpoint = f"{proxy.endpoint}/devstoreaccount1"
            storage = azurite.storage(container, azure_account_key=None, azure_endpoint_url=endpoint)
            assert "an identity the role Storage Blob Data Contributor" in refusal(storage, "list")
            assert set(sent) == {"Bearer token-of-the-machine"}
        finally:
            identity.stop()

    def test_variables_of_other_programs_change_nothing(
        self, azurite: Azurite, container: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        others = {"ACCOUNT_KEY": "d3Jvbmc=", "SAS_TOKEN": "sv=1&sig=2", "TOKEN": "t", "USE_EMULATOR": "true"}
        for name, value in {**others, "ENDPOINT": "http://127.0.0.1:1", "ACCOUNT_NAME": "another"}.items():
            monkeypatch.setenv(f"AZURE_STORAGE_{name}", value)
        monkeypatch.setenv("AZURE_CREDENTIAL_TYPE", "azure_cli")
        monkeypatch.setenv("AZURE_SKIP_SIGNATURE", "true")
        azurite.storage(container).write("shop.json", b"x")
        monkeypatch.undo()
        assert azurite.storage(container).read("shop.json") == b"x"

    def test_a_machine_without_an_identity(
        self, azurite: Azurite, container: str, monkeypatch: pytest.MonkeyPatch, hasty: None
    ) -> None:
        monkeypatch.setenv("AZURE_MSI_ENDPOINT", "http://127.0.0.1:1/token")
        assert "this machine gives no credentials" in refusal(azurite.storage(container, azure_account_key=None))


class TestRefusals:
    @pytest.mark.parametrize("use", USES)
    def test_no_such_container(self, azurite: Azurite, use: str) -> None:
        message = refusal(azurite.storage("no-such-container"), use)
        assert "there is no such container: check azure_container and azure_account" in message

    def test_an_immutable_blob_has_its_own_error(self, azurite: Azurite, container: str, proxy: FaultyProxy) -> None:
        """Its answer is made like Azure's: Azurite knows no immutability. A delete is the part of a batch."""
        azurite.storage(container).write("shop.json", b"x")

        def immutable(exchange: Exchange) -> Answer:
            answer = exchange.forward()
            was = answer.body.split(b"HTTP/1.1 ")[1].split(b"\r\n")[0]
            why = b"409 This operation is not permitted as the blob is immutable due to a policy."
            body = answer.body.replace(was, why)
            return Answer(answer.status, body, {**answer.headers, "Content-Length": str(len(body))})

        proxy.every("POST", immutable)
        storage = azurite.storage(container, azure_endpoint_url=f"{proxy.endpoint}/devstoreaccount1")
        with pytest.raises(ObjectLocked, match="it is locked"):
            storage.delete("shop.json")

    def test_a_list_that_fails_half_way_is_an_error(self, broken: ObjectStorage, proxy: FaultyProxy) -> None:
        broken.write("shop.json", b"x")

        def with_more(exchange: Exchange) -> Answer:
            answer = exchange.forward()
            body = answer.body.replace(b"<NextMarker/>", b"<NextMarker>more</NextMarker>")
            assert body != answer.body
            return Answer(answer.status, body, {**answer.headers, "Content-Length": str(len(body))})

        proxy.next("GetObject", with_more)
        proxy.every("GetObject", status(500))
        with pytest.raises(StorageError, match="Could not list the objects"):
            list(broken.list())

    def test_a_service_that_dies_during_an_upload_publishes_nothing(
        self, broken: ObjectStorage, proxy: FaultyProxy
    ) -> None:
        with pytest.raises(StorageError, match=r"Could not store shop\.gz"), broken.publish("shop.gz") as sink:  # noqa: PT012
            sink.write(bytes(upload.SMALLEST_PART))
            proxy.every("PutObject", drop)
            sink.write(bytes(upload.SMALLEST_PART))
        proxy.repair()
        assert list(broken.list()) == []
        assert not broken.is_taken("shop")

    def test_a_key_that_is_no_path_is_an_error_that_names_it(
        self, azurite: Azurite, container: str, storage: ObjectStorage
    ) -> None:
        """Other programs can make one; obstore's list ends there, and what it would leave out may be a backup."""
        storage.write("shop.json", b"x")
        url = f"{azurite.endpoint}/{container}/db-backups/a//b?{azurite.sas_token(container, 'rcwdl')}"
        headers = {"x-ms-blob-type": "BlockBlob", "x-ms-version": "2021-08-06"}
        with urlopen(Request(url, b"x", headers, method="PUT")):  # noqa: S310  on loopback
            pass
        with pytest.raises(StorageError, match=r"a//b.* Remove or rename that object with another tool"):
            list(storage.list())

    def test_an_object_created_in_the_meantime_stays(self, storage: ObjectStorage) -> None:
        with pytest.raises(NameTaken), storage.publish("shop.gz") as sink:  # noqa: PT012
            storage.write("shop.gz", b"fast")  # first: Azurite refuses it where a block waits uncommitted
            sink.write(bytes(upload.SMALLEST_PART + 5))
        assert storage.read("shop.gz") == b"fast"

    def test_many_parts_become_one_object(self, storage: ObjectStorage) -> None:
        content = random.Random(1).randbytes(2 * upload.SMALLEST_PART + 7)
        with storage.publish("shop.gz") as sink:
            sink.write(content)
        assert storage.read("shop.gz") == content

    def test_a_service_that_does_not_answer(
        self, azurite: Azurite, hasty: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client, "_REQUEST", timedelta(seconds=0.2))
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = f"http://127.0.0.1:{silent.getsockname()[1]}"
            message = refusal(azurite.storage("any", azure_endpoint_url=address), "list")
        assert "did not answer in time: check azure_endpoint_url" in message

    def test_an_unknown_account(self, azurite: Azurite, hasty: None) -> None:
        message = refusal(azurite.storage("any", azure_endpoint_url="http://nosuchaccount.blob.invalid"))
        assert "its host name is not known: check azure_account and azure_endpoint_url" in message


def test_the_error_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_cfg.backup.storage.find_spec", lambda name: None)
    config = BackupStorageConfig(backend="azure", azure_container="c", azure_account="shop")
    with pytest.raises(ConfigurationError, match=r"pip install 'django-cfg-backup\[azure\]'"):
        open_storage(config, None)


def test_the_address_is_that_of_the_account() -> None:
    config = BackupStorageConfig(backend="azure", azure_container="c", azure_account="shop")
    assert open_storage(config, None).location == "https://shop.blob.core.windows.net/c/db-backups/"
