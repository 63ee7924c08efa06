"""The form of a restore: through a staging schema, of some tables, or in place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

from django_cfg.backup.engines.base import Database, Restoration, RestoreOptions, SwitchResult
from django_cfg.backup.engines.mysql import staging_schemas, switch
from django_cfg.backup.engines.mysql.connection import connect
from django_cfg.backup.engines.mysql.dump_loader import DumpLoader
from django_cfg.backup.engines.mysql.in_place import InPlaceRestoration
from django_cfg.backup.engines.mysql.missing_database import created_if_missing
from django_cfg.backup.engines.mysql.option_file import open_option_file
from django_cfg.backup.engines.mysql.preflight import find_programs, refuse_impossible, refuse_in_place
from django_cfg.backup.engines.mysql.session import Session, end_other_sessions
from django_cfg.backup.engines.mysql.staging import StagingRestoration, report_kept_data
from django_cfg.backup.engines.mysql.stored_code.export import export_objects
from django_cfg.backup.engines.mysql.table_restore import TableRestoration
from django_cfg.backup.manifest import Manifest

_MANY_ROWS = 10_000  # to add the indexes of a smaller table after its rows takes longer than to have them before


@contextmanager
def open_restoration(database: Database, manifest: Manifest, options: RestoreOptions) -> Iterator[Restoration]:
    """Prepare a restore of *database*; nothing of it is changed yet, but that it is created if it is missing."""
    with created_if_missing(database, manifest), connect(database) as session:
        refuse_impossible(session, manifest, options)
        client, dump_tool = find_programs(database, session)
        staging_schemas.lock_restores(session)
        staging_schemas.refuse_unfinished(session)
        staging_schemas.drop_abandoned(session)
        with open_option_file(database, session, client) as file:
            staging = None if options.in_place else staging_schemas.create_staging(session)
            if staging is None:
                refuse_in_place(session, manifest, options)
                loader = DumpLoader(client, file, session, session.database)
                yield InPlaceRestoration(database, session, loader, options, partial=manifest.partial)
                return
            try:
                loader = DumpLoader(client, file, session, staging, _list_large(session, manifest))
                if options.tables:
                    yield TableRestoration(database, session, loader, options, manifest)
                else:
                    export = partial(export_objects, session, dump_tool, file)
                    yield StagingRestoration(database, session, loader, options, export)
            finally:
                _drop_staging(database, staging)


def _list_large(session: Session, manifest: Manifest) -> set[str]:
    """Return the tables whose indexes are added after their rows.

    None on MySQL, where that is not tested, and on Galera, where all nodes would wait for it.
    """
    if not session.is_mariadb or session.is_galera:
        return set()
    return {table.name for table in manifest.tables if table.rows >= _MANY_ROWS}


def resume_switch(database: Database) -> SwitchResult | None:
    """Finish the switch that was interrupted; return None if there is none."""
    with connect(database) as session:
        staging_schemas.lock_restores(session)
        found = staging_schemas.find_unfinished(session)
        if found is None:
            return None
        plan = switch.read_plan(session, found.name)
        advice = switch.resume_switch(session, found.staging, found.name, plan)
        return report_kept_data(session, found.name, plan, advice)


def _drop_staging(database: Database, staging: str) -> None:
    """Drop the staging schema unless a switch is unfinished; the session that created it may be lost."""
    with suppress(Exception), connect(database) as session:  # otherwise the next restore drops it
        if not staging_schemas.find_unfinished(session):
            end_other_sessions(session, staging)  # of a client that was killed while the server adds an index
            staging_schemas.drop_schema(session, staging)
