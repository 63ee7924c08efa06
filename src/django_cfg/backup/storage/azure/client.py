"""obstore's clients for a container of Azure Blob Storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from obstore.store import AzureStore

from django_cfg.backup.errors import StorageError
from django_cfg.backup.storage.azure.container import Container
from django_cfg.backup.storage.azure.errors import storage_error
from django_cfg.backup.storage.object_store.client import Client
from django_cfg.backup.storage.object_store.errors import REFUSED

if TYPE_CHECKING:
    from obstore.store import AzureConfig, ClientConfig, RetryConfig


class AzureClient(Client):
    """The clients for *container*."""

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        self.container = container

    def storage_error(self, error: BaseException, doing: str) -> StorageError:
        return storage_error(error, doing, self.container)

    def _open(self, retries: RetryConfig, **timeouts: Unpack[ClientConfig]) -> AzureStore:
        """Without a key or token obstore looks for credentials in the environment, then asks for a managed identity."""
        container = self.container
        config: AzureConfig = {
            "account_name": container.account,
            "endpoint": container.endpoint,
            "skip_signature": False,
            "use_emulator": False,
        }
        if container.account_key:
            config |= {"account_key": container.account_key, "credential_type": "access_key"}
        elif container.sas_token:
            config |= {"sas_key": container.sas_token, "credential_type": "sas_token"}
        try:
            return AzureStore(
                container.name,
                config=config,
                client_options={"allow_http": container.endpoint.startswith("http:"), **timeouts},
                retry_config=retries,
            )
        except REFUSED as error:
            raise storage_error(error, "use the configuration", container) from None
