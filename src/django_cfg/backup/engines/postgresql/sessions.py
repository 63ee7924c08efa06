"""The others who use a database: who they are, for the operator to stop them, or to be ended on demand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.postgresql.connection import connected
from django_cfg.backup.engines.postgresql.schema import rows

# Autovacuum makes way by itself.
_OTHERS = """
SELECT 'pid ' || pid || coalesce(', user ' || usename, '') || coalesce(', ' || nullif(application_name, ''), '')
    || coalesce(', from ' || host(client_addr), '')
FROM pg_stat_activity
WHERE datname = %s AND pid <> pg_backend_pid() AND coalesce(backend_type, '') <> 'autovacuum worker'
UNION ALL
SELECT 'the prepared transaction ' || gid FROM pg_prepared_xacts WHERE database = %s
ORDER BY 1
"""
# By number: once renamed, the name is another database's.
_NUMBER = "SELECT oid FROM pg_database WHERE datname = %s"
_PIDS = "SELECT pid FROM pg_stat_activity WHERE datid = %s AND pid <> pg_backend_pid()"
_PAUSE = 0.1  # seconds between two looks


def others(connection: Any, name: str) -> list[str]:
    """Who uses the database *name* besides *connection*, each in words."""
    return [told for (told,) in rows(connection, _OTHERS, [name, name])]


def end_all(connection: Any, name: str) -> None:
    """End whoever uses a database of ours, as one who looked at a scratch and forgot to leave."""
    for numbers in rows(connection, _NUMBER, [name]):
        _end(connection, numbers)


@contextmanager
def ended(door: Database, name: str) -> Iterator[None]:
    """A block during which whoever uses the database *name* is disconnected, again and again.

    New ones do not get in while the block renames it: the server lets them wait, and then finds no such name.
    """
    with connected(door) as connection:
        numbers = rows(connection, _NUMBER, [name])
        stop = threading.Event()
        thread = threading.Thread(target=_end_them, args=(connection, numbers, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _end_them(connection: Any, numbers: list[tuple[int]], stop: threading.Event) -> None:
    while numbers and not stop.is_set():
        _end(connection, numbers[0])
        stop.wait(_PAUSE)


def _end(connection: Any, number: tuple[int]) -> None:
    for (pid,) in rows(connection, _PIDS, number):
        with suppress(Exception):  # not permitted: whoever stays is told when the renaming fails
            rows(connection, "SELECT pg_terminate_backend(%s)", [pid])
