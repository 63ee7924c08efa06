"""A container of Azure Blob Storage, by obstore (the extra ``[azure]``)."""

from django_cfg.backup.storage.azure.storage import AzureStorage

__all__ = ["AzureStorage"]
