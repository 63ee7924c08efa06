"""Connections of Django's driver to a PostgreSQL database, or to another database of its server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from django.db.utils import Error, load_backend

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.connection_settings import complete_settings, connect_silently
from django_cfg.backup.engines.postgresql.error_advice import explain_unavailable
from django_cfg.backup.engines.postgresql.libpq import (
    get_connection_settings,
    get_database_name,
    replace_service,
    uses_service,
)
from django_cfg.backup.engines.postgresql.schema import WRITABLE, execute, fetch_rows
from django_cfg.backup.errors import DatabaseUnavailable

# From these another database can be created and renamed; no role can rename the one it is connected to.
MAINTENANCE_DATABASES = ("postgres", "template1")


@contextmanager
def connect(database: Database) -> Iterator[Any]:
    """Open a connection of Django's driver (psycopg 2 or 3) in autocommit, for this block alone.

    It may be one to another database than that of the alias. No receiver of ``connection_created`` takes it for the
    project's own, and what Django keeps for each alias, such as the types of PostGIS, is not mixed up.

    :raises DatabaseUnavailable: the server refuses it.
    """
    settings = complete_settings(get_connection_settings(database))
    settings["OPTIONS"] = {name: value for name, value in settings["OPTIONS"].items() if name != "pool"}
    alias = f"django-cfg-backup {database.alias} {get_database_name(database)}"
    wrapper = load_backend(settings["ENGINE"]).DatabaseWrapper(settings, alias)
    try:
        with wrapper.wrap_database_errors:
            connect_silently(wrapper)
            yield wrapper.connection
    except Error as error:
        raise explain_unavailable(database, error) from error
    finally:
        if wrapper.connection is not None:
            wrapper.connection.close()


@contextmanager
def connect_to_restore(database: Database) -> Iterator[Any]:
    """Connect without the time limits and the read-only mode that roles and databases may set."""
    with connect(database) as connection:
        execute(connection, WRITABLE)
        yield connection


def get_program_settings(database: Database) -> dict[str, Any]:
    """Return Django's settings for PostgreSQL's programs, which have to connect as the driver does.

    :raises DatabaseUnavailable: a service file is used, and the server it names refuses the connection.
    """
    settings = get_connection_settings(database)
    if not uses_service(settings):
        return settings
    with connect(database) as connection:
        return replace_service(settings, connection)


def replace_name(database: Database, name: str) -> Database:
    """Return the database *name* on the server of *database*."""
    settings, connection = (_without_dbname(part) for part in (database.settings, database.connection))
    return replace(database, settings={**settings, "NAME": name}, connection=connection)


def _without_dbname(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Remove a name from OPTIONS, which the driver prefers to NAME."""
    options = {name: value for name, value in settings.get("OPTIONS", {}).items() if name != "dbname"}
    return {**settings, **({"OPTIONS": options} if "OPTIONS" in settings else {})}


def find_maintenance_database(database: Database) -> Database | None:
    """Return another database of the server that accepts a connection; None if there is none."""
    for name in MAINTENANCE_DATABASES:
        if name == get_database_name(database):
            continue
        maintenance = replace_name(database, name)
        try:
            with connect(maintenance):
                return maintenance
        except DatabaseUnavailable:
            continue  # if it is the server that does not answer, the connection to the database itself says so
    return None


def find_maintenance_of_missing(database: Database, error: DatabaseUnavailable) -> Database | None:
    """Return another database of the server if *error* means that *database* does not exist there; else None."""
    name = get_database_name(database)
    if not name or name not in str(error.__cause__):  # the server names it, in any language
        return None
    maintenance = find_maintenance_database(database)
    if maintenance is None:
        return None
    with connect(maintenance) as connection:
        found = fetch_rows(connection, "SELECT 1 FROM pg_database WHERE datname = %s", [name])
    return None if found else maintenance


@contextmanager
def connect_to_server(database: Database) -> Iterator[Any]:
    """Connect to the database, or to another one of its server if it does not exist."""
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(connect(database))
        except DatabaseUnavailable as error:
            maintenance = find_maintenance_of_missing(database, error)
            if not maintenance:
                raise
            connection = stack.enter_context(connect(maintenance))
        yield connection
