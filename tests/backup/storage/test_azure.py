"""Azure Blob Storage: the contract of every storage, and what is its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_cfg.backup.storage.azure import AzureStorage
from tests.backup.storage.storage_contract import StorageContract
from tests.backup.storage.test_s3 import REOPEN
from tests.support.azurite import Azurite


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    server = Azurite(tmp_path_factory.mktemp("azurite"))
    yield server
    server.stop()


@pytest.fixture
def container(azurite: Azurite) -> str:
    return azurite.new_container()


@pytest.fixture
def storage(azurite: Azurite, container: str) -> AzureStorage:
    return azurite.storage(container)


class TestAzureStorage(StorageContract):
    @pytest.fixture
    def storage(self, azurite: Azurite, container: str) -> AzureStorage:
        return azurite.storage(container)

    @pytest.fixture
    def reopen(self, azurite: Azurite, container: str) -> str:
        return REOPEN.format(parameters=azurite.parameters(container))

    class TestIsTaken(StorageContract.TestIsTaken):
        test_a_name_is_taken_by_an_object_that_is_being_written = None  # as on S3
