"""A restore: always through a staging file, of which either everything or some tables are taken."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django_cfg.backup.engines.base import Database, Restoration, RestoreOptions, SwitchResult
from django_cfg.backup.engines.sqlite.connection import get_database_path
from django_cfg.backup.engines.sqlite.preflight import refuse_in_place, require_space
from django_cfg.backup.engines.sqlite.switch import DatabaseRestoration
from django_cfg.backup.engines.sqlite.table_restore import TableRestoration, choose_tables
from django_cfg.backup.engines.sqlite.workspace import open_workspace
from django_cfg.backup.errors import RestoreFailed
from django_cfg.backup.manifest import Manifest


@contextmanager
def open_restoration(database: Database, manifest: Manifest, options: RestoreOptions) -> Iterator[Restoration]:
    """Prepare a restore in a workspace that no second restore may enter."""
    refuse_in_place(options)
    chosen = choose_tables(database, manifest, options.tables) if options.tables else []
    target = get_database_path(database).resolve()  # the file itself, not a link to it
    keep_old = not options.discard_old
    require_space(database, manifest, keep_old=keep_old)
    with open_workspace(target, database.alias) as workspace:
        if chosen:
            yield TableRestoration(database, target, workspace, keep_old=keep_old, chosen=chosen)
        else:
            yield DatabaseRestoration(database, target, workspace, keep_old=keep_old)


def undo_restore(database: Database, kept: Path) -> SwitchResult:
    """Switch to a copy of the kept data *kept*, which stays.

    :raises RestoreFailed: the database is as it was.
    """
    target = get_database_path(database).resolve()
    with open_workspace(target, database.alias) as workspace:
        restoration = DatabaseRestoration(database, target, workspace, keep_old=True)
        try:
            restoration.copy_from(kept)
        except (sqlite3.DatabaseError, OSError) as error:
            raise RestoreFailed(
                f"The old data {kept} could not be copied: {error}. The database {database.alias!r} is as it was."
            ) from error
        return restoration.switch()
