"""Django's own connections of this process: closed with the thread that opened them, and before a restore."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.db import connections

from django_cfg.backup.engines.base import Engine
from django_cfg.backup.errors import RestoreRefused
from django_cfg.backup.services.project.project import Project, database_identity

T = TypeVar("T")


def closing_connections(call: Callable[[], T]) -> Callable[[], T]:
    """Return *call* for a thread of its own, whose connections are closed at its end."""

    def closing() -> T:
        try:
            return call()
        finally:
            connections.close_all()

    return closing


def close_connections(project: Project, engine: Engine) -> None:
    """Close this thread's connections to the database of *engine*, under whatever alias, and the pools behind them.

    :raises RestoreRefused: one of them is in a transaction, which would be lost without a word.
    """
    for alias, database in project.databases.items():
        if database_identity(database) == engine.identity:
            connection: Any = connections[alias]
            if connection.in_atomic_block:
                raise RestoreRefused(
                    f"This thread is in a transaction of the database {alias!r}, which a restore would undo. Restore "
                    "after its end: outside of transaction.atomic(), in a view with non_atomic_requests where "
                    "ATOMIC_REQUESTS is set, in a test with TransactionTestCase. Nothing was touched."
                )
            connection.close()
            if connection.settings_dict.get("OPTIONS", {}).get("pool"):
                connection.close_pool()  # PostgreSQL's alone
