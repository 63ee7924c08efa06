"""A bucket of Google Cloud Storage, by obstore (the extra ``[gcs]``)."""
