"""A container of Azure Blob Storage, or the part of it below a prefix."""

from __future__ import annotations

from django_cfg.backup.storage.azure.client import AzureClient
from django_cfg.backup.storage.azure.container import Container
from django_cfg.backup.storage.object_store.storage import ObjectStorage


class AzureStorage(ObjectStorage):
    """Objects below the prefix of *container*."""

    def __init__(self, container: Container) -> None:
        super().__init__(AzureClient(container))
