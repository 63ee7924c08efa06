"""What can be checked before a restore begins: the options, the tables, the space."""

from __future__ import annotations

import shutil
import sqlite3

from django_cfg.backup.engines.base import Database, Finding, Level, Preflight, RestoreOptions
from django_cfg.backup.engines.sqlite.connection import get_database_path, list_existing_files
from django_cfg.backup.engines.sqlite.table_restore import choose_tables, list_foreign_keys
from django_cfg.backup.engines.table_comparison import describe_foreign_keys
from django_cfg.backup.errors import NotEnoughSpace, RestoreRefused
from django_cfg.backup.formatting import megabytes
from django_cfg.backup.manifest import Manifest


def run_preflight(database: Database, manifest: Manifest, options: RestoreOptions) -> Preflight:
    """Check the options, the tables and the space for a restore.

    :raises BackupError: the restore would fail.
    """
    refuse_in_place(options)
    target = get_database_path(database).resolve()
    folder, exists = target.parent, target.exists()
    needed, free = require_space(database, manifest, keep_old=not options.discard_old)
    form = "connections may stay open" if exists else "the file is new"
    findings = [
        Finding(Level.OK, database.alias, f"SQLite {sqlite3.sqlite_version}; {form}"),
        Finding(Level.OK, database.alias, f"{megabytes(needed)} are needed in {folder}, {megabytes(free)} free"),
    ]
    if options.tables:
        chosen = choose_tables(database, manifest, options.tables)
        findings.append(Finding(Level.OK, database.alias, f"only {', '.join(chosen)}, replaced in one transaction"))
        if found := list_foreign_keys(database, chosen):
            findings.append(Finding(Level.WARNING, database.alias, describe_foreign_keys(found)))
    return Preflight(tuple(findings), uses_staging=True, keeps_old_data=True, target_exists=exists)


def refuse_in_place(options: RestoreOptions) -> None:
    """Refuse a restore in place, which SQLite does not need.

    :raises RestoreRefused: it is requested.
    """
    if options.in_place:
        raise RestoreRefused(
            "SQLite always restores through a checked copy next to the database: leave out --in-place."
        )


def require_space(database: Database, manifest: Manifest, *, keep_old: bool) -> tuple[int, int]:
    """Check the space for the staging file, the old data, and the journal or log of the switch; bytes needed and free.

    :raises RestoreRefused: there is no folder to restore into.
    :raises NotEnoughSpace: they do not fit.
    """
    target = get_database_path(database).resolve()
    if not target.parent.is_dir():
        raise RestoreRefused(f"The folder {target.parent} of the database {database.alias!r} is missing: create it.")
    if target.is_dir():
        raise RestoreRefused(f"{target}, the NAME of the database {database.alias!r}, is a folder: correct it.")
    new = manifest.archive.raw_size
    old = sum(path.stat().st_size for path in list_existing_files(target))
    kept = old if keep_old else 0
    needed, free = new + kept + max(new, old), shutil.disk_usage(target.parent).free
    if free < needed:
        purpose = (
            f"It is needed for a scratch ({new:,} bytes), the old data that is kept ({kept:,} bytes) and SQLite's "
            "journal. Nothing was touched."
        )
        raise NotEnoughSpace.of(target.parent, needed, free, purpose)
    return needed, free
