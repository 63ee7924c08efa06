"""A database that does not exist any more: created for a restore or a drill, with its character set."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.connection_settings import merged_settings
from django_cfg.backup.engines.mysql import staging_schemas
from django_cfg.backup.engines.mysql.connection import connect, connect_to_server, location
from django_cfg.backup.engines.mysql.error_advice import explain_restore_errors
from django_cfg.backup.engines.mysql.error_text import get_error_number
from django_cfg.backup.engines.mysql.option_file import read_connection_options
from django_cfg.backup.engines.mysql.session import quote_name
from django_cfg.backup.engines.mysql.stored_code.contents import list_contents
from django_cfg.backup.errors import DatabaseUnavailable, RestoreRefused
from django_cfg.backup.manifest import EngineFacts, Manifest

_UNKNOWN_DATABASE = 1049
_EXISTS = 1007
_DENIED = (1044, 1045, 1227)
_NAME = re.compile(r"\w+")
_LOCK_TIMEOUT = 5  # seconds; the session that has held the lock has just been closed


@contextmanager
def created_if_missing(database: Database, manifest: Manifest) -> Iterator[bool]:
    """Create the database for the block if it does not exist; yield True if so. It stays if it has been filled.

    :raises DatabaseUnavailable: the server refuses the connection, or the user may not create the database.
    """
    is_new = _is_missing(database) and _create(database, manifest)
    try:
        yield is_new
    finally:
        if is_new:
            _drop_if_empty(database)


def is_missing(error: DatabaseUnavailable) -> bool:
    """Return True if *error* says that the server does not have the database."""
    cause = error.__cause__
    return isinstance(cause, Exception) and get_error_number(cause) == _UNKNOWN_DATABASE


def format_charset(facts: EngineFacts) -> str:
    """Return the character set and collation of the database that was backed up, as SQL sets them."""
    if not _NAME.fullmatch(facts.charset) or not _NAME.fullmatch(facts.collation):
        return "CHARACTER SET utf8mb4"
    return f"CHARACTER SET {facts.charset} COLLATE {facts.collation}"


def _is_missing(database: Database) -> bool:
    try:
        with connect(database):
            return False
    except DatabaseUnavailable as error:
        if not is_missing(error):
            raise
        return True


def _create(database: Database, manifest: Manifest) -> bool:
    """Return False if another process has just created it."""
    name = read_connection_options(merged_settings(database))["database"]
    statement = f"CREATE DATABASE {quote_name(name)} {format_charset(manifest.engine)}"
    with connect_to_server(database) as session, explain_restore_errors(database.alias, "Nothing was changed."):
        try:
            session.execute(statement)
        except Exception as error:
            if get_error_number(error) in _DENIED:
                raise RestoreRefused(
                    f"The database {database.alias!r} ({location(database)}) does not exist, and this user may not "
                    f"create it. Let an administrator do that, then restore again: {statement}"
                ) from error
            if get_error_number(error) != _EXISTS:
                raise
            return False
    return True


def _drop_if_empty(database: Database) -> None:
    """Leave it to another restore if one has begun; if the server is gone, an empty database stays."""
    with suppress(Exception), connect(database) as session:
        if not staging_schemas.try_lock_restores(session, _LOCK_TIMEOUT) or staging_schemas.find_unfinished(session):
            return
        contents = list_contents(session, session.database)
        if not contents.tables and not contents.stored_code:
            staging_schemas.drop_schema(session, session.database)
