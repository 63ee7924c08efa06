"""One restore of a database at a time, and how others see that it lives: an advisory lock of its connection.

PostgreSQL drops the lock with the connection, however we end. Such locks belong to one database each, but
``pg_locks`` shows those of all.
"""

from __future__ import annotations

import zlib
from typing import Any

from django_cfg.backup.engines.postgresql.names import stem
from django_cfg.backup.engines.postgresql.schema import rows
from django_cfg.backup.errors import RestoreUnderWay

_OURS = 0x64_63_66_67  # the first of the lock's two numbers
_HOLDERS = """
SELECT pid <> pg_backend_pid() FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND classid = %s AND objid = %s
"""


def take(connection: Any, target: str, alias: str) -> None:
    """
    :raises RestoreRefused: another restore of the database has it.
    """
    number = _number(target)
    signed = number - (1 << 32) if number >= 1 << 31 else number
    ((taken,),) = rows(connection, "SELECT pg_try_advisory_lock(%s, %s)", [_OURS, signed])
    if not taken or is_taken_by_others(connection, target):
        raise RestoreUnderWay(
            f"Another restore of the database {alias!r} is running on this server: wait for its end, then try again."
        )


def is_taken_by_others(connection: Any, target: str) -> bool:
    """Whether a restore of the database lives, other than that of *connection*."""
    return any(is_other for (is_other,) in rows(connection, _HOLDERS, [_OURS, _number(target)]))


def _number(target: str) -> int:
    return zlib.crc32(stem(target).encode())
