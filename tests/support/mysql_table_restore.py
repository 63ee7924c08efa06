"""Restores of some tables into a MySQL or MariaDB database, as the tests carry them out."""

from __future__ import annotations

from typing import Any

import pytest

from django_cfg.backup import restore_backup
from django_cfg.backup.engines.base import SwitchResult
from django_cfg.backup.errors import BackupError
from tests.support.databases import fail_unless_equal
from tests.support.mysql_databases import MySQLServer


def restore(*tables: str, **options: Any) -> SwitchResult:
    return restore_backup(tables=tables, discard_old=True, **options)


def fail_to_restore(server: MySQLServer, kind: type[BackupError], message: str, *tables: str, **options: Any) -> None:
    """It fails with *message*, the database is as it was, and no schema is left beside it."""
    before = server.text()
    with pytest.raises(kind, match=f"(?s){message}") as failure:
        restore(*tables, **options)
    assert type(failure.value) is kind
    fail_unless_equal(before, server.text())
    assert server.schemas() == set()
