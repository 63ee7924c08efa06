"""What can be checked before a restore begins: server, programs, privileges, form, space, other sessions."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from django_cfg.backup.engines.base import Database, Finding, Level, Preflight, RestoreOptions
from django_cfg.backup.engines.mysql import staging_schemas
from django_cfg.backup.engines.mysql.connection import connect, connect_to_server, location
from django_cfg.backup.engines.mysql.dump_scanner import DumpScanner
from django_cfg.backup.engines.mysql.error_advice import explain_restore_errors
from django_cfg.backup.engines.mysql.error_text import get_error_number
from django_cfg.backup.engines.mysql.foreign_key_check import describe_outer_keys
from django_cfg.backup.engines.mysql.missing_database import created_if_missing, format_charset
from django_cfg.backup.engines.mysql.option_file import open_option_file
from django_cfg.backup.engines.mysql.privileges import describe_user, require_restore_privileges
from django_cfg.backup.engines.mysql.schema import get_schema_size, list_foreign_keys
from django_cfg.backup.engines.mysql.session import Session, get_max_packet, list_other_sessions, raise_max_packet
from django_cfg.backup.engines.mysql.stored_code.contents import list_contents
from django_cfg.backup.engines.mysql.stored_code.export import export_objects, list_broken_views
from django_cfg.backup.engines.mysql.table_restore import choose_tables
from django_cfg.backup.engines.mysql.tools import CLIENTS, DUMP_TOOLS, Tool, find_tool, release_series
from django_cfg.backup.engines.table_comparison import describe_foreign_keys
from django_cfg.backup.errors import NotEnoughSpace, RestoreFailed, RestoreRefused
from django_cfg.backup.formatting import megabytes
from django_cfg.backup.manifest import Manifest

Result = tuple[Level, str]

_VENDORS = {"mariadb": "MariaDB", "mysql": "MySQL"}
_UNKNOWN_CHARSET, _UNKNOWN_COLLATION = 1115, 1273


def run_preflight(database: Database, manifest: Manifest, options: RestoreOptions) -> Preflight:
    """Check a restore without beginning it; raise BackupError if it would fail."""
    with created_if_missing(database, manifest) as is_new, connect(database) as session:
        client, dump_tool = find_programs(database, session)
        refuse_impossible(session, manifest, options)
        staging_schemas.lock_restores(session)  # a switch that is running looks like one that was interrupted
        staging_schemas.refuse_unfinished(session)
        uses_staging = not options.in_place and _may_create_schema(session)
        if not uses_staging:
            refuse_in_place(session, manifest, options)
        results = [
            (Level.OK, f"{session.server}, {location(database)}; {client.path}"),
            *_check_version(session, manifest, uses_staging=uses_staging),
            *_describe_form(session, manifest, options, uses_staging=uses_staging, is_new=is_new),
        ]
        if uses_staging and not options.tables:
            if list_contents(session, session.database).list_names("trigger"):  # dropped while their tables are locked
                require_restore_privileges(session, "LOCK TABLES")
            if not manifest.partial:  # else the views, triggers, routines and events stay
                results += _check_export(database, session, dump_tool, options)
        results.append(_check_space(session, manifest))
        results += _check_other_sessions(session, options, uses_staging=uses_staging)
    findings = tuple(Finding(level, database.alias, text) for level, text in results)
    keeps_old_data = uses_staging and not options.tables
    return Preflight(findings, uses_staging, keeps_old_data=keeps_old_data, target_exists=not is_new)


def find_programs(database: Database, session: Session) -> tuple[Tool, Tool]:
    """Return the client that loads the backup, and the program that exports what the database has besides tables.

    :raises ToolNotFound: one of them is missing.
    """
    where = session.vendor, database.tools_dir, f"To restore the database {database.alias!r}"
    return find_tool(CLIENTS, *where), find_tool(DUMP_TOOLS, *where)


def refuse_impossible(session: Session, manifest: Manifest, options: RestoreOptions) -> None:
    """Raise RestoreRefused if the restore cannot be done, or not as *options* say."""
    _refuse_other_vendor(session, manifest)
    _refuse_large_statements(session, manifest)
    if not options.tables:
        require_restore_privileges(session)
        _refuse_outer_keys(session)
        return
    if options.in_place:
        raise RestoreRefused("--tables uses a schema next to the database in any case: leave out --in-place.")
    require_restore_privileges(session, "DELETE")
    choose_tables(session, manifest, options.tables)


def refuse_in_place(session: Session, manifest: Manifest, options: RestoreOptions) -> None:
    """Raise RestoreRefused if the restore cannot be done without a staging schema."""
    alias, existing = session.alias, list_contents(session, session.database)
    if options.tables:
        raise RestoreRefused(
            f"{describe_user(session)} may not create a schema next to the database {alias!r}, which --tables needs: "
            "GRANT it what docs/mysql.md lists for a restore, or restore the complete backup into another database "
            "(--to) and copy the tables from there."
        )
    if _is_older(session, manifest) and existing.tables:
        raise RestoreRefused(
            f"{_compare_versions(session, manifest)}. It may hold what this older server does not know, and a restore "
            f"in place would find that out after the database {alias!r} has been emptied. Allow the user to create a "
            "schema next to it (docs/mysql.md) and leave out --in-place, or restore into an empty database (--to "
            "ALIAS)."
        )
    if existing.stored_code and not existing.tables and not manifest.partial:  # and so no backup of it is made first
        raise RestoreRefused(
            f"The database {alias!r} has no table, but {len(existing.stored_code)} views, routines or events, which a "
            "restore in place would drop: drop them yourself, or allow the user to create a schema next to it "
            "(docs/mysql.md)."
        )


def refuse_unknown_charsets(database: Database, manifest: Manifest, scanner: DumpScanner) -> None:
    """Raise RestoreRefused if the server does not have a character set or collation of the dump."""
    with connect_to_server(database) as session:
        charsets = {name: f"DO CONVERT('' USING {name})" for name in sorted(scanner.charsets)}
        collations = {name: f"SET SESSION collation_connection = {name}" for name in sorted(scanner.collations)}
        unknown = [name for name, statement in charsets.items() if _fails(session, statement, _UNKNOWN_CHARSET)]
        unknown += [name for name, statement in collations.items() if _fails(session, statement, _UNKNOWN_COLLATION)]
        if unknown:
            raise RestoreRefused(
                f"{manifest.name} uses {', '.join(unknown)}, and the server of the database {database.alias!r} "
                f"({session.server}) knows no character set or collation of that name. Nothing was changed: upgrade "
                "the server, or restore the backup on another one (--to)."
            )


def _refuse_other_vendor(session: Session, manifest: Manifest) -> None:
    """Refuse, since types, collations and the text of routines differ: the result might not be what was backed up."""
    vendor = manifest.engine.vendor
    if vendor != session.vendor:
        raise RestoreRefused(
            f"{manifest.name} is a backup of a {_VENDORS.get(vendor, vendor)} database, and {session.alias!r} is on a "
            f"{_VENDORS[session.vendor]} server. The two are not compatible any more: restore it onto a server of its "
            "own kind. To move the data all the same, unpack the archive (docs/restore-by-hand.md) and load it by hand."
        )


def _refuse_large_statements(session: Session, manifest: Manifest) -> None:
    """Refuse what would fail in the middle: bytes take twice their room as SQL, so a row may come back too large."""
    if too_large := _describe_large_statement(session, manifest):
        statement = raise_max_packet(manifest.engine.largest_statement)
        raise RestoreRefused(
            f"{too_large} Nothing was changed. Let an administrator raise it, for the time of the restore, and restore "
            f"again: {statement}"
        )


def check_largest_statement(session: Session, manifest: Manifest) -> Iterator[Finding]:
    """Warn if the server would not take back *manifest*. Which rows have grown since, only a dump shows."""
    if too_large := _describe_large_statement(session, manifest):
        advice = f"A restore is refused until that is raised: {raise_max_packet(manifest.engine.largest_statement)}"
        yield Finding(Level.WARNING, session.alias, f"{too_large} {advice}")


def _describe_large_statement(session: Session, manifest: Manifest) -> str:
    size, limit = manifest.engine.largest_statement, get_max_packet(session)
    if size < limit:
        return ""
    return (
        f"{manifest.name} holds a row that takes {megabytes(size)} as SQL, and the server of the database "
        f"{session.alias!r} takes {megabytes(limit)} at once (max_allowed_packet)."
    )


def _refuse_outer_keys(session: Session) -> None:
    """Refuse if tables of other schemas refer to the database: they would refer to the kept data after the switch."""
    outer = [
        f"{key.constraint} of {key.schema}.{key.table}"
        for key in list_foreign_keys(session)
        if key.schema != session.database and key.target_schema == session.database
    ]
    if outer:
        raise RestoreRefused(
            f"Tables of other schemas refer to tables of the database {session.alias!r}: {', '.join(outer[:20])}. Drop "
            "these foreign keys, restore, and add them again."
        )


def _may_create_schema(session: Session) -> bool:
    """Try it: wildcards and roles make privileges hard to evaluate, and an empty schema is dropped at once."""
    name = staging_schemas.create_staging(session)
    if name:
        staging_schemas.drop_schema(session, name)
    return name is not None


def _check_version(session: Session, manifest: Manifest, *, uses_staging: bool) -> Iterator[Result]:
    if _is_older(session, manifest):
        then = ", and then nothing is changed" if uses_staging else ""
        text = f"what this older server does not know makes the restore fail{then}"
        yield Level.WARNING, f"{_compare_versions(session, manifest)}: {text}"


def _is_older(session: Session, manifest: Manifest) -> bool:
    return release_series(session.version) < release_series(manifest.engine.server_version)


def _compare_versions(session: Session, manifest: Manifest) -> str:
    return f"{manifest.name} is of version {manifest.engine.server_version}, and the server is {session.server}"


def _describe_form(
    session: Session, manifest: Manifest, options: RestoreOptions, *, uses_staging: bool, is_new: bool
) -> Iterator[Result]:
    if is_new:
        yield Level.OK, f"the database does not exist and is created, {format_charset(manifest.engine)}"
    if options.tables:
        chosen = choose_tables(session, manifest, options.tables)
        text = (
            f"only {', '.join(chosen)}, replaced in one transaction after the complete backup has been loaded into a "
            "schema next to the database and checked; writers to them wait during the transaction"
        )
        yield Level.OK, text
        if keys := describe_outer_keys(session, chosen):
            yield Level.WARNING, describe_foreign_keys(keys)
    elif uses_staging and is_new:
        yield Level.OK, "into a schema next to the database, checked, then one RENAME TABLE"
    elif uses_staging:
        kept = "then dropped" if options.discard_old else "kept next to it"
        text = "into a schema next to the database, checked, then one RENAME TABLE; its old data is"
        yield Level.OK, f"{text} {kept}"
    else:
        why = "--in-place asks for it" if options.in_place else "this user may not create a schema, see docs/mysql.md"
        text = "in place: the database is incomplete until the end, and after a failure it has to be restored from the "
        yield Level.WARNING, f"{text}backup of it that is made first ({why})"


def _check_export(database: Database, session: Session, dump_tool: Tool, options: RestoreOptions) -> Iterator[Result]:
    """Check that the text of views, triggers, routines and events can be read when the switch needs it.

    :raises RestoreRefused: it cannot; only a warning if the old data is discarded, since a drill has no switch.
    """
    try:
        with (
            explain_restore_errors(session.alias, "The database was not touched."),
            open_option_file(database, session, dump_tool) as file,
        ):
            export_objects(session, dump_tool, file)
    except RestoreFailed as error:
        if not options.discard_old:
            raise RestoreRefused(str(error)) from error
        yield Level.WARNING, f"the switch will fail: {error}"
        return
    if broken := list_broken_views(session):
        text = "refer to something that does not exist: their text is kept as it is"
        yield Level.WARNING, f"the views {', '.join(broken)} {text}"


def _check_space(session: Session, manifest: Manifest) -> Result:
    """Compare the free space with an estimate: rows take about as much as SQL as on the server's disk."""
    needed = max(manifest.raw_size, get_schema_size(session, session.database))
    free = _get_free_space(session)
    text = f"about {megabytes(needed)} are needed on the server's disk"
    if free is None:
        return Level.OK, f"{text}, whose free space is not known here"
    if free < needed // 2:
        raise NotEnoughSpace.of("the server's data directory", needed, free, "Nothing was touched.")
    return Level.OK if free >= needed else Level.WARNING, f"{text}, {megabytes(free)} are free"


def _get_free_space(session: Session) -> int | None:
    """Return the free bytes of the server's disk, if the server runs on this machine."""
    if session.fetch_value("SELECT @@hostname") != os.uname().nodename:
        return None
    try:
        return shutil.disk_usage(str(session.fetch_value("SELECT @@datadir"))).free
    except OSError:
        return None


def _check_other_sessions(session: Session, options: RestoreOptions, *, uses_staging: bool) -> Iterator[Result]:
    if found := list_other_sessions(session):
        moment = "at the switch" if uses_staging else "before the database is emptied"
        what = f"are ended {moment}" if options.disconnect else "may hold locks, which are waited for"
        hint = "" if options.disconnect else " (or use --disconnect)"
        yield Level.WARNING, f"{len(found)} connections {what}{hint}: {'; '.join(found[:10])}"


def _fails(session: Session, statement: str, code: int) -> bool:
    """Return True if the server refuses *statement* with the error *code*."""
    try:
        session.execute(statement)
    except Exception as error:
        if get_error_number(error) != code:
            raise
        return True
    return False
