"""Copies of backups in further places: which are missing, and making up for them."""
