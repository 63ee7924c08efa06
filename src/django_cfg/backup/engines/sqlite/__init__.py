"""SQLite: an online copy, checked beside the stream; a restore through SQLite's own transactions."""

from django_cfg.backup.engines.sqlite.engine import SQLiteEngine

__all__ = ["SQLiteEngine"]
