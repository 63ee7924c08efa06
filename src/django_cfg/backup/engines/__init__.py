"""The part that knows one database vendor each."""

from __future__ import annotations

from importlib import import_module

from django.core.exceptions import ImproperlyConfigured
from django.db.utils import load_backend

from django_cfg.backup.engines.base import Database, Engine
from django_cfg.backup.errors import UnsupportedEngine

_HOMES = {
    "sqlite": ("django_cfg.backup.engines.sqlite", "SQLiteEngine"),
    "mysql": ("django_cfg.backup.engines.mysql", "MySQLEngine"),
    "mariadb": ("django_cfg.backup.engines.mysql", "MySQLEngine"),
    "postgresql": ("django_cfg.backup.engines.postgresql", "PostgreSQLEngine"),
}


def engine_for(database: Database) -> Engine:
    """The engine of *database*, chosen by the vendor its Django backend declares.

    :raises UnsupportedEngine: no engine of ours knows the vendor.
    """
    return engine_class(_vendor(database), of=f"The database {database.alias!r}")(database)


def engine_class(vendor: str, *, of: str) -> type[Engine]:
    """The engine that knows *vendor*; *of* begins the message when there is none."""
    if vendor not in _HOMES:
        known = ", ".join(sorted(_HOMES))
        raise UnsupportedEngine(
            f"{of} is of the vendor {vendor!r}, which this version cannot back up or restore (it knows: {known})."
        )
    module, name = _HOMES[vendor]
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
