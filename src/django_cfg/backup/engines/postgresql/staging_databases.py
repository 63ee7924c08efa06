"""The databases that restores create on a server: their names, their lock, what is kept, what is swept.

The name says of which database and for what purpose. A restore holds an advisory lock, which PostgreSQL releases with
its connection, however that ends: a staging database whose lock is free is abandoned.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal

from django_cfg.backup.engines.base import Database, KeptObject
from django_cfg.backup.engines.postgresql.connection import connect, connect_to_server
from django_cfg.backup.engines.postgresql.libpq import get_database_name
from django_cfg.backup.engines.postgresql.schema import WRITABLE, execute, fetch_rows, quote_name
from django_cfg.backup.errors import BackupError, RestoreUnderWay

Purpose = Literal["restoring", "before"]  # a staging database; kept data

_MAX_BYTES = 63  # of an identifier
_TIMESTAMP = "%Y%m%dt%H%M%Sz"
_SUFFIX_BYTES = len("__restoring_20250115t013000z_99")
_LOCK_CLASS = 0x64_63_66_67  # the first of the lock's two numbers
# Advisory locks belong to one database each, but pg_locks lists those of all.
_LOCK_HOLDERS = """
SELECT pid <> pg_backend_pid() FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND classid = %s AND objid = %s
"""
# By name and by owner: no restore of ours has made a database that this role does not own.
_OWNED = "SELECT datname FROM pg_database WHERE pg_has_role(datdba, 'USAGE') AND starts_with(datname, %s) ORDER BY 1"
_SIZE = """
SELECT CASE WHEN has_database_privilege(oid, 'CONNECT') THEN pg_database_size(oid) ELSE 0 END
FROM pg_database WHERE datname = %s
"""


def shorten_name(target: str) -> str:
    """Return the beginning of the names made for *target*: its own name, shortened where it would not fit."""
    room = _MAX_BYTES - _SUFFIX_BYTES
    encoded = target.encode()
    if len(encoded) <= room:
        return target
    digest = hashlib.sha256(encoded).hexdigest()[:6]
    return f"{encoded[: room - 7].decode(errors='ignore')}_{digest}"


def make_name(target: str, purpose: Purpose, taken: Collection[str]) -> str:
    """Return a name for *purpose* that is not among *taken*."""
    wanted = name = f"{shorten_name(target)}__{purpose}_{datetime.now(UTC).strftime(_TIMESTAMP)}"
    number = 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name


def find_free_name(connection: Any, target: str, purpose: Purpose) -> str:
    return make_name(target, purpose, {name for (name,) in fetch_rows(connection, "SELECT datname FROM pg_database")})


def parse_name(name: str, target: str, purpose: Purpose) -> datetime | None:
    """Return when a restore of *target* made *name* for *purpose*; None if none did."""
    found = re.fullmatch(rf"{re.escape(shorten_name(target))}__{purpose}_(\d{{8}}t\d{{6}}z)(_\d+)?", name)
    try:
        return datetime.strptime(found[1], _TIMESTAMP).replace(tzinfo=UTC) if found else None
    except ValueError:  # digits that are no date
        return None


def lock_restores(connection: Any, target: str, alias: str) -> None:
    """Lock the restores of the database *target* until *connection* is closed.

    :raises RestoreUnderWay: another restore holds the lock.
    """
    number = _compute_lock_number(target)
    signed = number - (1 << 32) if number >= 1 << 31 else number
    ((is_taken,),) = fetch_rows(connection, "SELECT pg_try_advisory_lock(%s, %s)", [_LOCK_CLASS, signed])
    if not is_taken or _is_locked_by_others(connection, target):
        raise RestoreUnderWay(
            f"Another restore of the database {alias!r} is running on this server: wait for its end, then try again."
        )


def _is_locked_by_others(connection: Any, target: str) -> bool:
    holders = fetch_rows(connection, _LOCK_HOLDERS, [_LOCK_CLASS, _compute_lock_number(target)])
    return any(is_other for (is_other,) in holders)


def _compute_lock_number(target: str) -> int:
    return zlib.crc32(shorten_name(target).encode())


def list_kept(database: Database) -> list[KeptObject]:
    """Return the old data that restores of *database* have kept, newest first."""
    with connect_to_server(database) as connection:
        kept = [
            KeptObject(name, fetch_rows(connection, _SIZE, [name])[0][0], made_at)
            for name, made_at in _list_made(connection, get_database_name(database), "before")
        ]
    return sorted(kept, key=lambda old_data: old_data.made_at, reverse=True)


def sweep(database: Database, *, dry_run: bool = False) -> list[str]:
    """Drop the staging databases of restores of *database* that died, or only name them."""
    target = get_database_name(database)
    with connect_to_server(database) as connection:
        # They are listed first: a running restore has taken its lock before it creates one.
        found = [name for name, _ in _list_made(connection, target, "restoring")]
        if not found or _is_locked_by_others(connection, target):
            return []
        if not dry_run:
            _drop(connection, found)
        return found


def sweep_locked(connection: Any, target: str) -> None:
    """Drop the staging databases of earlier restores of *target*, whose lock *connection* holds."""
    _drop(connection, [name for name, _ in _list_made(connection, target, "restoring")])


def discard(maintenance: Database, name: str) -> None:
    """Drop a staging database that is no longer needed; if that fails, the next restore does it."""
    with suppress(BackupError), connect(maintenance) as connection:
        _drop(connection, [name])


def _drop(connection: Any, names: list[str]) -> None:
    """Drop the databases *names*, and end what a dead restore has started on the server and is still running there."""
    execute(connection, WRITABLE, *(f"DROP DATABASE IF EXISTS {quote_name(name)} WITH (FORCE)" for name in names))


def _list_made(connection: Any, target: str, purpose: Purpose) -> Iterator[tuple[str, datetime]]:
    for (name,) in fetch_rows(connection, _OWNED, [shorten_name(target)]):
        if made_at := parse_name(name, target, purpose):
            yield name, made_at
