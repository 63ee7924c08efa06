"""A bucket of any S3-compatible service, by obstore (the extra ``[s3]``)."""
