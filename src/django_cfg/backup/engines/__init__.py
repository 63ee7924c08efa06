"""The engines, one per database vendor."""

from __future__ import annotations

from importlib import import_module

from django.core.exceptions import ImproperlyConfigured
from django.db.utils import load_backend

from django_cfg.backup.engines.base import Database, Engine
from django_cfg.backup.errors import UnsupportedEngine

_ENGINES = {
    "sqlite": ("django_cfg.backup.engines.sqlite", "SQLiteEngine"),
    "mysql": ("django_cfg.backup.engines.mysql", "MySQLEngine"),
    "mariadb": ("django_cfg.backup.engines.mysql", "MySQLEngine"),
    "postgresql": ("django_cfg.backup.engines.postgresql", "PostgreSQLEngine"),
}


def engine_for(database: Database) -> Engine:
    """Return the engine of *database*, by the vendor that its Django backend declares.

    :raises UnsupportedEngine: the vendor has no engine, or the backend cannot be loaded.
    """
    return engine_class(_vendor(database), of=f"The database {database.alias!r}")(database)


def engine_class(vendor: str, *, of: str) -> type[Engine]:
    """Return the engine class of *vendor*; *of* begins the message if there is none."""
    if vendor not in _ENGINES:
        known = ", ".join(sorted(_ENGINES))
        raise UnsupportedEngine(
            f"{of} is of the vendor {vendor!r}, which this version cannot back up or restore (it supports: {known})."
        )
    module, name = _ENGINES[vendor]
    engine: type[Engine] = getattr(import_module(module), name)
    return engine


def _vendor(database: Database) -> str:
    name = str(database.settings.get("ENGINE", ""))
    try:
        vendor: str = load_backend(name).DatabaseWrapper.vendor
    except (ImproperlyConfigured, ImportError) as error:
        raise UnsupportedEngine(
            f"The backend {name!r} of the database {database.alias!r} cannot be loaded: {error}"
        ) from error
    return vendor
