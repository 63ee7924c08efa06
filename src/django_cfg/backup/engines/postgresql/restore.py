"""The form of a restore: into a staging database, in place, or of some tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

from django_cfg.backup.engines.base import Database, Restoration, RestoreOptions, SwitchResult
from django_cfg.backup.engines.postgresql import staging_databases
from django_cfg.backup.engines.postgresql.archive_script import unrestricted_script
from django_cfg.backup.engines.postgresql.connection import (
    MAINTENANCE_DATABASES,
    connect_to_restore,
    find_maintenance_database,
)
from django_cfg.backup.engines.postgresql.in_place import InPlaceRestoration
from django_cfg.backup.engines.postgresql.libpq import get_database_name
from django_cfg.backup.engines.postgresql.psql_session import open_psql
from django_cfg.backup.engines.postgresql.schema import TableName, fetch_rows
from django_cfg.backup.engines.postgresql.staging import open_staging
from django_cfg.backup.engines.postgresql.switch import switch_databases
from django_cfg.backup.engines.postgresql.table_restore import TableRestoration, choose_tables
from django_cfg.backup.engines.postgresql.target import Target, inspect_target
from django_cfg.backup.errors import RestoreRefused
from django_cfg.backup.manifest import Manifest


class Form(Enum):
    """The ways in which a backup gets into a database."""

    STAGING = "staging"
    IN_PLACE = "in place"
    TABLES = "tables"


@dataclass(frozen=True)
class RestorePlan:
    """What a restore will do, for the preflight and for the restore itself."""

    target: Target
    form: Form
    reasons: Sequence[str]  # why not through a staging database
    chosen: Sequence[TableName] = ()  # of a restore of some tables


def plan_restore(database: Database, manifest: Manifest, options: RestoreOptions) -> RestorePlan:
    """Choose the form that *options* and the server allow.

    :raises BackupError: there is none, or the server does not answer.
    """
    target = inspect_target(database, manifest)
    reasons = _find_reasons(target, options)
    if reasons and not target.exists:
        why = "some tables need a database to go into" if options.tables or manifest.partial else "; ".join(reasons)
        raise RestoreRefused(
            f"The database {target.name!r} of {database.alias!r} does not exist, and this restore does not create it: "
            f"{why}. Create it (createdb), then restore again."
        )
    if (reasons or options.skip or options.skip_failing) and not target.tools.can_restrict_psql:
        raise unrestricted_script(target.tools.version)
    if not reasons:
        return RestorePlan(target, Form.STAGING, reasons)
    if options.disconnect:
        raise RestoreRefused(
            f"--disconnect ends connections at the switch of a restore next to the database. This one of "
            f"{database.alias!r} goes into the database as it is ({'; '.join(reasons)}), and waits for "
            "locks instead: stop the site and its workers, then restore without --disconnect."
        )
    if options.tables:
        return RestorePlan(target, Form.TABLES, reasons, choose_tables(database, manifest, options.tables))
    if target.unsaved and not manifest.partial and not options.discard_old:
        raise RestoreRefused(
            f"The database {database.alias!r} has no table, but {', '.join(target.unsaved)}, which a restore in place "
            f"({'; '.join(reasons)}) would drop, and no backup of it can be made first. "
            "Drop them yourself, let it be restored next to the database (docs/postgresql.md), or give --discard-old "
            "to lose them."
        )
    return RestorePlan(target, Form.IN_PLACE, reasons)


@contextmanager
def open_restoration(database: Database, manifest: Manifest, options: RestoreOptions) -> Iterator[Restoration]:
    """Prepare a restore in the form that *options* and the server allow; nothing is changed yet."""
    plan = plan_restore(database, manifest, options)
    target = plan.target
    if plan.form is Form.STAGING and target.maintenance:
        with open_staging(target, target.maintenance, options) as staging:
            yield staging
        return
    with open_psql(database, target.tools) as session:
        if plan.form is Form.TABLES:
            yield TableRestoration(target, session, plan.chosen)
        else:
            yield InPlaceRestoration(target, session, options)


def undo_restore(database: Database, kept: str, *, disconnect: bool) -> SwitchResult:
    """Give the kept data *kept* the name of the database again, which gets a name of kept data.

    :raises RestoreFailed: nothing has changed.
    """
    maintenance = find_maintenance_database(database)
    if maintenance is None:
        raise RestoreRefused(
            f"No other database of the server accepts a connection, from which {kept} could be renamed: create one "
            f"named {MAINTENANCE_DATABASES[0]}."
        )
    target = get_database_name(database)
    with connect_to_restore(maintenance) as connection:
        staging_databases.lock_restores(connection, target, database.alias)
        new = staging_databases.find_free_name(connection, target, "before")
        exists = bool(fetch_rows(connection, "SELECT 1 FROM pg_database WHERE datname = %s", [target]))
        switch_databases(maintenance, kept, target, new if exists else None, None, disconnect=disconnect)
    return SwitchResult(f"the database {new}" if exists else None)


def _find_reasons(target: Target, options: RestoreOptions) -> list[str]:
    """Return why the backup cannot be restored through a staging database; nothing if it can."""
    if options.tables:
        return ["--tables"]
    if options.in_place:
        return ["--in-place asks for it"]
    if target.manifest.partial:
        return ["a backup of some tables goes into the database as it is"]
    return list(target.obstacles)
