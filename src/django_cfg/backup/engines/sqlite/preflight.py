"""What can be known of a restore before it begins."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from django_cfg.backup.engines.base import Database, Finding, Level, Preflight, RestoreOptions
from django_cfg.backup.engines.sqlite.connection import database_path
from django_cfg.backup.engines.sqlite.staging import require_room
from django_cfg.backup.engines.sqlite.table_restore import choose_tables, foreign_keys
from django_cfg.backup.errors import RestoreRefused
from django_cfg.backup.formatting import megabytes
from django_cfg.backup.manifest import Manifest


def run_preflight(database: Database, manifest: Manifest, options: RestoreOptions) -> Preflight:
    """
    :raises BackupError: the restore would fail.
    """
    refuse_in_place(options)
    target = database_path(database).resolve()
    needed, free = require_room(database, target, manifest, keep_old=not options.discard_old)
    findings = (
        Finding(Level.OK, database.alias, f"SQLite {sqlite3.sqlite_version}; connections may stay open"),
        Finding(Level.OK, database.alias, f"{megabytes(needed)} are needed in {target.parent}, {megabytes(free)} free"),
        *_tables(database, manifest, options),
    )
    return Preflight(findings, uses_staging=True, keeps_old_data=True)


def refuse_in_place(options: RestoreOptions) -> None:
    """
    :raises RestoreRefused: it is asked for.
    """
    if options.in_place:
        raise RestoreRefused(
            "SQLite restores through a checked copy beside the database in any case: leave out --in-place."
        )


def _tables(database: Database, manifest: Manifest, options: RestoreOptions) -> Iterator[Finding]:
    if not options.tables:
        return
    chosen = choose_tables(database, manifest, options.tables)
    yield Finding(Level.OK, database.alias, f"only {', '.join(chosen)}, replaced in one transaction")
    if found := foreign_keys(database, chosen):
        yield Finding(
            Level.WARNING,
            database.alias,
            "foreign keys between these tables and others are checked at the end, and a row that misses its partner "
            f"undoes everything: {'; '.join(found)}",
        )
