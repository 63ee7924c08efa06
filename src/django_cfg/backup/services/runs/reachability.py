"""Whether a database answers at all: one behind a broken network would delay each write for minutes, or for ever."""

from __future__ import annotations

import time
from contextlib import suppress

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_cfg.backup.engines.connection_settings import connect_silently
from django_cfg.backup.process.threads import InThread

PATIENCE = 10.0  # seconds to connect
_BELIEVED_FOR = 60.0  # seconds for which one that was silent is not asked again: what follows at once gives it up, too
_silent: dict[str, float] = {}  # alias: since when, as time.monotonic counts


def is_reachable(alias: str) -> bool:
    """False where a connection was not made, nor refused, within ``PATIENCE``; a refusal is an answer."""
    connection = connections[alias]
    if connection.vendor == "sqlite" or connection.in_atomic_block:
        return True  # a file; or one that is in use just now
    since = _silent.get(alias)
    if since is not None and time.monotonic() - since < _BELIEVED_FOR:
        return False
    _silent.pop(alias, None)
    has_ended = probe(alias).wait(PATIENCE)
    if not has_ended:
        _silent[alias] = time.monotonic()
    return has_ended


def probe(alias: str) -> InThread[None]:
    """Connect to the database *alias* in a thread, which ends as soon as that is done or refused."""
    connection = connections[alias]
    return InThread(lambda: _connect(connection), "backup-history-probe")


def _copy_of(connection: BaseDatabaseWrapper) -> BaseDatabaseWrapper:
    """A connection of its own, without a pool to wait for."""
    copy = connection.copy()
    options = copy.settings_dict["OPTIONS"]
    options.pop("pool", None)
    if copy.vendor in ("postgresql", "mysql"):
        options.setdefault("connect_timeout", int(PATIENCE) + 1)  # ends the thread, where the driver keeps to it
    return copy


def _connect(connection: BaseDatabaseWrapper) -> None:
    if connection.vendor == "sqlite":
        return  # a file, which a connection would make where there is none
    copy = _copy_of(connection)  # made here: Django does not allow another thread to close it
    with suppress(Exception):  # the code that uses the database meets the same error and reports it
        try:
            connect_silently(copy)
        finally:
            copy.close()
