"""A container of Azure Blob Storage, by obstore (the extra ``[azure]``)."""
