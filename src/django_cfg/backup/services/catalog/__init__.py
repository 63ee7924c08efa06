"""What the storage holds: reading, finding, naming, downloading backups."""
