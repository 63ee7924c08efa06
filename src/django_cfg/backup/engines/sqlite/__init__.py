"""SQLite: an online copy, checked while it is streamed; a restore through SQLite's own transactions."""

from django_cfg.backup.engines.sqlite.engine import SQLiteEngine

__all__ = ["SQLiteEngine"]
