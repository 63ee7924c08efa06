"""What can be known of a restore before it begins: server, programs, the form it takes, space, others in the way."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from django_cfg.backup.engines.base import Database, Finding, Level, Preflight, RestoreOptions
from django_cfg.backup.engines.mysql import staging, versions
from django_cfg.backup.engines.mysql.connection import connected, location
from django_cfg.backup.engines.mysql.foreign_key_check import in_words
from django_cfg.backup.engines.mysql.grants import require_every_right
from django_cfg.backup.engines.mysql.restore import refuse_the_impossible, refuse_without_scratch
from django_cfg.backup.engines.mysql.session import Session
from django_cfg.backup.engines.mysql.sessions import others
from django_cfg.backup.engines.mysql.stored_code.contents import contents
from django_cfg.backup.engines.mysql.stored_code.export import foresee_code
from django_cfg.backup.engines.mysql.table_restore import choose_tables
from django_cfg.backup.engines.mysql.tools import Tool, client_tool, dump_tool
from django_cfg.backup.errors import NotEnoughSpace
from django_cfg.backup.formatting import megabytes
from django_cfg.backup.manifest import Manifest


def run_preflight(database: Database, manifest: Manifest, options: RestoreOptions) -> Preflight:
    """
    :raises BackupError: the restore would fail.
    """
    alias = database.alias
    with connected(database) as session:
        purpose = f"To restore the database {alias!r}"
        client = client_tool(session.vendor, database.tools_dir, purpose)
        dumper = dump_tool(session.vendor, database.tools_dir, purpose)
        refuse_the_impossible(database, session, manifest, options)
        staging.require_alone(session, alias)  # a switch that goes on looks like one that was interrupted
        staging.refuse_unfinished(session, alias)
        is_beside = not options.in_place and _may_make_a_schema(session)
        if not is_beside:
            refuse_without_scratch(session, alias, options)
            versions.refuse_older_in_place(session, alias, manifest)
        elif not options.tables:
            _refuse_the_switch(session, alias)
        findings = (
            Finding(Level.OK, alias, f"{session.server}, {location(database)}; {client.path}"),
            *versions.findings(session, alias, manifest, is_beside=is_beside),
            *_form(database, session, manifest, options, is_beside=is_beside),
            *(_code(database, session, dumper, manifest, options) if is_beside else ()),
            _space(session, manifest, alias),
            *_others(session, options, alias, is_beside=is_beside),
        )
    return Preflight(findings, uses_staging=is_beside, keeps_old_data=is_beside and not options.tables)


def _may_make_a_schema(session: Session) -> bool:
    """Grants with wildcards and roles make it hard to tell; trying takes a moment, and leaves nothing."""
    if not staging.is_alone(session, 1):
        return True  # another restore is running, as the restore itself will say
    name = staging.create_scratch(session)
    if name:
        staging.discard(session, name)
    return name is not None


def _refuse_the_switch(session: Session, alias: str) -> None:
    """
    :raises RestoreRefused: a schema beside the database could be loaded, and not be put in its place.
    """
    if contents(session, session.database).of("trigger"):  # they go while their tables are locked
        require_every_right(session, alias, "LOCK TABLES")


def _form(
    database: Database, session: Session, manifest: Manifest, options: RestoreOptions, *, is_beside: bool
) -> Iterator[Finding]:
    if options.tables:
        yield from _tables(session, manifest, options, database.alias)
    elif is_beside:
        kept = "dropped then" if options.discard_old else "kept beside it"
        yield Finding(
            Level.OK,
            database.alias,
            f"into a schema beside the database, checked, then one RENAME TABLE; its old data is {kept}",
        )
    else:
        why = "--in-place asks for it" if options.in_place else "this user may not create a schema, see docs/mysql.md"
        yield Finding(
            Level.WARNING,
            database.alias,
            "in place: the database is not whole until the end, and a failure has to be mended by the backup of it "
            f"that is made first ({why})",
        )


def _tables(session: Session, manifest: Manifest, options: RestoreOptions, alias: str) -> Iterator[Finding]:
    chosen = choose_tables(session, alias, manifest, options.tables)
    yield Finding(
        Level.OK,
        alias,
        f"only {', '.join(chosen)}, replaced in one transaction once the whole backup has been loaded into a schema "
        "beside the database and checked; whoever writes to them waits meanwhile",
    )
    if found := in_words(session, chosen):
        yield Finding(
            Level.WARNING,
            alias,
            "foreign keys between these tables and others are checked at the end, and a row that misses its partner "
            f"undoes everything: {'; '.join(found)}",
        )


def _code(
    database: Database, session: Session, dumper: Tool, manifest: Manifest, options: RestoreOptions
) -> Iterator[Finding]:
    if not manifest.partial and not options.tables:  # what the database has besides tables stays then
        yield from foresee_code(database, session, dumper, is_kept=not options.discard_old)


def _space(session: Session, manifest: Manifest, alias: str) -> Finding:
    """The rows as SQL take about as much as on the server's disk: a guess."""
    needed = max(manifest.archive.raw_size, staging.size(session, session.database))
    free = _free_on_the_server(session)
    about = f"about {megabytes(needed)} are needed on the server's disk"
    if free is None:
        return Finding(Level.OK, alias, f"{about}, which cannot be asked from here")
    if free < needed // 2:
        raise NotEnoughSpace.of("the server's data directory", needed, free, "Nothing was touched.")
    return Finding(Level.OK if free >= needed else Level.WARNING, alias, f"{about}, {megabytes(free)} are free")


def _free_on_the_server(session: Session) -> int | None:
    """Bytes, where the server runs on this machine."""
    if session.value("SELECT @@hostname") != os.uname().nodename:
        return None
    try:
        return shutil.disk_usage(str(session.value("SELECT @@datadir"))).free
    except OSError:
        return None


def _others(session: Session, options: RestoreOptions, alias: str, *, is_beside: bool) -> Iterator[Finding]:
    if found := others(session):
        moment = "at the switch" if is_beside else "before the database is emptied"
        what = (
            f"are ended {moment}" if options.disconnect else "may hold locks, for which it waits; or give --disconnect"
        )
        yield Finding(Level.WARNING, alias, f"{len(found)} connections {what}: {'; '.join(found[:10])}")
