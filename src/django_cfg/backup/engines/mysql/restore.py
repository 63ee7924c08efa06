"""The restore: into a scratch schema and then by a switch, or in place where no scratch schema may be made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django_cfg.backup.engines.base import Database, Restoration, RestoreOptions, SwitchResult
from django_cfg.backup.engines.mysql import staging, switch
from django_cfg.backup.engines.mysql import switch_plan as plans
from django_cfg.backup.engines.mysql.connection import connected
from django_cfg.backup.engines.mysql.grants import require_every_right, user
from django_cfg.backup.engines.mysql.in_place import InPlace
from django_cfg.backup.engines.mysql.load import Loader
from django_cfg.backup.engines.mysql.option_file import option_file
from django_cfg.backup.engines.mysql.program import options_for
from django_cfg.backup.engines.mysql.schema import foreign_keys
from django_cfg.backup.engines.mysql.scratched import Scratched, set_aside
from django_cfg.backup.engines.mysql.session import Session
from django_cfg.backup.engines.mysql.stored_code.contents import contents
from django_cfg.backup.engines.mysql.stored_code.export import code_of
from django_cfg.backup.engines.mysql.table_restore import SomeTables, choose_tables
from django_cfg.backup.engines.mysql.tools import client_tool, dump_tool
from django_cfg.backup.engines.mysql.versions import refuse_older_in_place
from django_cfg.backup.errors import RestoreRefused
from django_cfg.backup.manifest import Manifest

_NAMES = {"mariadb": "MariaDB", "mysql": "MySQL"}


@contextmanager
def restoring(database: Database, manifest: Manifest, options: RestoreOptions) -> Iterator[Restoration]:
    """A restore of *database*, prepared and not begun."""
    purpose = f"To restore the database {database.alias!r}"
    with connected(database) as session:
        refuse_the_impossible(database, session, manifest, options)
        client = client_tool(session.vendor, database.tools_dir, purpose)
        dumper = dump_tool(session.vendor, database.tools_dir, purpose)
        staging.require_alone(session, database.alias)
        staging.refuse_unfinished(session, database.alias)
        staging.sweep(session)
        with option_file(options_for(database, session, client)) as file:
            new = None if options.in_place else staging.create_scratch(session)
            if new is None:
                refuse_without_scratch(session, database.alias, options)
                refuse_older_in_place(session, database.alias, manifest)
                _refuse_code_without_tables(session, database.alias, manifest)
                loader = Loader(client, file, session.database)
                yield InPlace(database, session, loader, partial=manifest.partial, disconnect=options.disconnect)
                return
            try:
                loader = Loader(client, file, new)
                if options.tables:
                    yield SomeTables(database, session, loader, new, manifest, options)
                else:
                    yield Scratched(database, session, loader, new, lambda: code_of(session, dumper, file), options)
            finally:
                _discard(database, new)


def resuming(database: Database) -> SwitchResult | None:
    """Finish the switch that was interrupted; None: none was."""
    alias = database.alias
    with connected(database) as session:
        staging.require_alone(session, alias)
        found = staging.unfinished(session)
        if found is None:
            return None
        plan = plans.read(session, found.name)
        advice = switch.resume(session, found.scratch, found.name, plan, alias)
        return set_aside(session, found.name, plan, advice)


def refuse_the_impossible(database: Database, session: Session, manifest: Manifest, options: RestoreOptions) -> None:
    """
    :raises RestoreRefused: the restore cannot be done, or not as *options* say.
    """
    alias = database.alias
    _refuse_another_vendor(database, session, manifest)
    if not options.tables:
        require_every_right(session, alias)
        _refuse_references_from_outside(session, alias)
        return
    if options.in_place:
        raise RestoreRefused("--tables goes through a schema beside the database in any case: leave out --in-place.")
    require_every_right(session, alias, "DELETE")
    choose_tables(session, alias, manifest, options.tables)


def refuse_without_scratch(session: Session, alias: str, options: RestoreOptions) -> None:
    """
    :raises RestoreRefused: what has been asked for cannot be done in place.
    """
    if options.tables:
        raise RestoreRefused(
            f"{user(session)} may not make a schema beside the database {alias!r}, which --tables needs: GRANT it what "
            "docs/mysql.md lists for a restore, or restore the whole backup into another database (--to) and copy the "
            "tables from there."
        )


def _refuse_another_vendor(database: Database, session: Session, manifest: Manifest) -> None:
    """Types, collations and the text of routines differ: what loads may not be what was backed up."""
    if manifest.engine.vendor != session.vendor:
        raise RestoreRefused(
            f"{manifest.name} is a backup of a {_NAMES.get(manifest.engine.vendor, manifest.engine.vendor)} database, "
            f"and {database.alias!r} is on a {_NAMES[session.vendor]} server. The two have grown apart: restore it "
            "onto its own kind. To move the data all the same, unpack the archive (docs/restore-by-hand.md) and "
            "load it by hand."
        )


def _refuse_references_from_outside(session: Session, alias: str) -> None:
    """A table of another schema that refers to ours would go on referring to the old one, set aside."""
    outside = [
        f"{key.constraint} of {key.schema}.{key.table}"
        for key in foreign_keys(session)
        if key.schema != session.database and key.target_schema == session.database
    ]
    if outside:
        raise RestoreRefused(
            f"Tables of other schemas refer to tables of the database {alias!r}: {', '.join(outside[:20])}. Drop these "
            "foreign keys, restore, and add them again."
        )


def _refuse_code_without_tables(session: Session, alias: str, manifest: Manifest) -> None:
    """In place they would be dropped, and nothing without a table is backed up before."""
    found = contents(session, session.database)
    if found.code and not found.tables and not manifest.partial:
        raise RestoreRefused(
            f"The database {alias!r} has no table, but {len(found.code)} views, routines or events, which a restore in "
            "place would drop: drop them yourself, or let the user make a schema beside it (docs/mysql.md)."
        )


def _discard(database: Database, new: str) -> None:
    """Drop the scratch, unless its data is half-way to the database; the session that made it may be gone."""
    with suppress(Exception), connected(database) as session:  # the next restore sweeps what stays
        if not staging.unfinished(session):
            staging.discard(session, new)
