"""What restores leave on a server: old data that was set aside, and scratches of restores that died."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

from django_cfg.backup.engines.base import Database, KeptObject
from django_cfg.backup.engines.postgresql import lock, names
from django_cfg.backup.engines.postgresql.connection import connected
from django_cfg.backup.engines.postgresql.schema import NO_TIMEOUTS, execute, quoted, rows
from django_cfg.backup.engines.postgresql.target import on_the_server, target_name
from django_cfg.backup.errors import BackupError

# By name and by owner: what this role does not own, no restore of ours has made.
_MINE = "SELECT datname FROM pg_database WHERE pg_has_role(datdba, 'USAGE') AND starts_with(datname, %s) ORDER BY 1"
_SIZE = """
SELECT CASE WHEN has_database_privilege(oid, 'CONNECT') THEN pg_database_size(oid) ELSE 0 END
FROM pg_database WHERE datname = %s
"""


def set_aside(database: Database) -> list[KeptObject]:
    """The old data that restores of *database* have kept, newest first."""
    target = target_name(database)
    with on_the_server(database) as connection:
        found = [
            KeptObject(name, rows(connection, _SIZE, [name])[0][0], made_at)
            for name, made_at in _made_for(connection, target, "before")
        ]
    return sorted(found, key=lambda aside: aside.made_at, reverse=True)


def sweep(database: Database, *, dry_run: bool = False) -> list[str]:
    """Remove the scratches of restores of *database* that died, unless they are only looked at; the names of those."""
    with on_the_server(database) as connection:
        found = _scratches(connection, target_name(database))  # first: one that lives was locked before it was made
        if not found or lock.is_taken_by_others(connection, target_name(database)):
            return []
        return found if dry_run else drop(connection, found)


def sweep_under_lock(connection: Any, target: str) -> None:
    """Remove the scratches of earlier restores of *target*, whose lock *connection* holds."""
    drop(connection, _scratches(connection, target))


def drop(connection: Any, found: list[str]) -> list[str]:
    """What a dead restore began on the server may still be going on in them: it is ended."""
    execute(connection, NO_TIMEOUTS, *(f"DROP DATABASE IF EXISTS {quoted(name)} WITH (FORCE)" for name in found))
    return found


def discard(door: Database, name: str) -> None:
    """Remove a scratch that is not needed any more; what stays is removed by the next restore."""
    with suppress(BackupError), connected(door) as connection:
        drop(connection, [name])


def _scratches(connection: Any, target: str) -> list[str]:
    return [name for name, _ in _made_for(connection, target, "restoring")]


def _made_for(connection: Any, target: str, purpose: names.Purpose) -> Iterator[tuple[str, datetime]]:
    for (name,) in rows(connection, _MINE, [names.stem(target)]):
        if made_at := names.made_at(name, target, purpose):
            yield name, made_at
