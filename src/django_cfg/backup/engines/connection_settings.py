"""How a database is reached: its entry in settings.DATABASES with ``BackupDatabaseConfig.connection`` laid over it."""

from __future__ import annotations

from typing import Any

from django_cfg.backup.engines.base import Database

CONNECT_TIMEOUT = 10  # seconds for each address of a server, unless OPTIONS says something else


def merged_settings(database: Database) -> dict[str, Any]:
    """Return the settings of *database*; of OPTIONS each one is overridden on its own."""
    settings = {**database.settings, **database.connection}
    if "OPTIONS" in database.connection:
        settings["OPTIONS"] = {**database.settings.get("OPTIONS", {}), **database.connection["OPTIONS"]}
    return settings
