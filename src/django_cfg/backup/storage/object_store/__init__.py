"""Objects of a service on the network, by obstore: what S3, Google Cloud Storage and Azure have in common."""
