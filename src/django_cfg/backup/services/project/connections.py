"""Django's own connections of this process: they must not stand in a restore's way."""

from __future__ import annotations

from typing import Any

from django.db import connections

from django_cfg.backup.engines.base import Engine
from django_cfg.backup.services.project.project import Project, database_identity


def close_connections(project: Project, engine: Engine) -> None:
    """Close this thread's connections to the database of *engine*, under whatever alias, and the pools behind them."""
    for alias, database in project.databases.items():
        if database_identity(database) == engine.identity:
            connection: Any = connections[alias]
            connection.close()
            if connection.settings_dict.get("OPTIONS", {}).get("pool"):
                connection.close_pool()  # PostgreSQL's alone
