"""Whether a transaction has been committed, when the connection was lost before the server could say so."""

from __future__ import annotations

import time
from contextlib import suppress

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.postgresql.connection import connected
from django_cfg.backup.engines.postgresql.schema import rows
from django_cfg.backup.errors import BackupError, DatabaseUnavailable, RestoreFailed

_PATIENCE = 60  # seconds: a server that has crashed recovers first
_PAUSE = 0.5


def is_committed(database: Database, transaction: int, error: BackupError) -> bool:
    """Ask the server, until it knows.

    :param error: raised when the connection was lost; its cause are the program's words.
    :raises RestoreFailed: it does not answer in time.
    """
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        with suppress(DatabaseUnavailable), connected(database) as connection:
            ((status,),) = rows(connection, "SELECT txid_status(%s)", [transaction])
            if status in ("committed", "aborted"):
                return bool(status == "committed")
        time.sleep(_PAUSE)
    raise RestoreFailed(
        f"The connection to the database {database.alias!r} was lost while the restore was being committed, and the "
        "server does not answer since, so it is not known whether the database is as it was or wholly restored; it is "
        f"one of both. When the server is back, look at the data before you restore again. {error.__cause__ or error}"
    ) from error.__cause__
