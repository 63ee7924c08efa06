"""How a database is reached: its entry in settings.DATABASES with ``BackupDatabaseConfig.connection`` laid over it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django_cfg.backup.engines.base import Database

CONNECT_TIMEOUT = 10  # seconds for each address of a server, unless OPTIONS says something else


def complete_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return *settings* with the defaults that Django adds to the entries of settings.DATABASES."""
    return {"TIME_ZONE": None, "CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False, "AUTOCOMMIT": True, **settings}


def merged_settings(database: Database) -> dict[str, Any]:
    """Return the settings of *database*; of OPTIONS each one is overridden on its own."""
    settings = {**database.settings, **database.connection}
    if "OPTIONS" in database.connection:
        settings["OPTIONS"] = {**database.settings.get("OPTIONS", {}), **database.connection["OPTIONS"]}
    return settings


def connect_silently(wrapper: Any) -> None:
    """Do what ``BaseDatabaseWrapper.connect`` does, and send no ``connection_created``.

    A receiver in the project would take the connection for the project's own, and use ``connections[alias]``.
    """
    wrapper.check_settings()
    wrapper.connection = wrapper.get_new_connection(wrapper.get_connection_params())
    wrapper.set_autocommit(wrapper.settings_dict["AUTOCOMMIT"])
    wrapper.init_connection_state()
