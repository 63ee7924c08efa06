"""What can be known of a restore before it begins: tools, versions, the form it takes, space, others in the way."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from enum import Enum

from django_cfg.backup.engines.base import Database, Finding, Level, Preflight, Restoration, RestoreOptions
from django_cfg.backup.engines.postgresql import schema
from django_cfg.backup.engines.postgresql.connection import connected, connection_settings, location
from django_cfg.backup.engines.postgresql.in_place import restoring_in_place
from django_cfg.backup.engines.postgresql.libpq import parameters
from django_cfg.backup.engines.postgresql.names import stem
from django_cfg.backup.engines.postgresql.sessions import others
from django_cfg.backup.engines.postgresql.staging import restoring_beside
from django_cfg.backup.engines.postgresql.table_restore import choose_tables, foreign_keys, restoring_tables
from django_cfg.backup.engines.postgresql.target import Target, look
from django_cfg.backup.engines.postgresql.tools import Tools, choose, major
from django_cfg.backup.errors import NotEnoughSpace, RestoreRefused
from django_cfg.backup.formatting import megabytes
from django_cfg.backup.manifest import Manifest

# A backup cannot hold the locks of the transaction that follows it: what comes between is in neither.
_GAP = "; what it writes after the backup that is made first is lost: stop it"


class Form(Enum):
    """The ways a backup gets into a database."""

    BESIDE = "beside"
    IN_PLACE = "in place"
    TABLES = "tables"


def restoring(database: Database, manifest: Manifest, options: RestoreOptions) -> AbstractContextManager[Restoration]:
    """A restore in the form that *options* and the server allow."""
    target = look(database, manifest)
    tools = _tools(database, manifest, target)
    form = _form(database, manifest, target, options)
    if form is Form.TABLES:
        return restoring_tables(database, manifest, target, tools, options.tables)
    if form is Form.BESIDE and target.door:
        return restoring_beside(database, manifest, target, tools, target.door, options)
    return restoring_in_place(database, manifest, target, tools)


def run_preflight(database: Database, manifest: Manifest, options: RestoreOptions) -> Preflight:
    """
    :raises BackupError: the restore would fail.
    """
    target = look(database, manifest)
    tools = _tools(database, manifest, target)
    form = _form(database, manifest, target, options)
    findings = [
        *_versions(database, manifest, target, tools),
        _form_in_words(database, manifest, target, options, form),
        *(_foreign_keys(database, manifest, options) if form is Form.TABLES else ()),
        *(_space(database, manifest, target) if form is not Form.TABLES else ()),
        *_others(database, target, options, form),
    ]
    return Preflight(tuple(findings), uses_staging=form is Form.BESIDE, keeps_old_data=form is Form.BESIDE)


def _tools(database: Database, manifest: Manifest, target: Target) -> Tools:
    wanted = max(target.server, major(manifest.engine.tool_version))
    return choose(wanted, database.tools_dir, f"To restore the database {database.alias!r}")


def _form(database: Database, manifest: Manifest, target: Target, options: RestoreOptions) -> Form:
    if not target.exists:
        _refuse_absent(database, manifest, target, options)
    reasons = [] if options.tables else _reasons(manifest, target, options)
    if not options.tables and not reasons:
        return Form.BESIDE
    if options.disconnect:
        raise RestoreRefused(
            f"--disconnect ends connections at the switch of a restore beside the database. This one of "
            f"{database.alias!r} goes into the database as it is ({'; '.join(reasons) or '--tables'}), and waits for "
            "locks instead: stop the site and its workers, then restore without --disconnect."
        )
    if options.tables:
        return Form.TABLES
    _refuse_unsaved(database, manifest, target, options)
    return Form.IN_PLACE


def _reasons(manifest: Manifest, target: Target, options: RestoreOptions) -> list[str]:
    """Why not beside the target."""
    if options.in_place:
        return ["--in-place asks for it"]
    if manifest.partial:
        return ["a backup of some tables goes into the database as it is"]
    return list(target.obstacles)


def _refuse_unsaved(database: Database, manifest: Manifest, target: Target, options: RestoreOptions) -> None:
    """In place they would be dropped, and a database without any table is not backed up before."""
    if target.unsaved and not manifest.partial and not options.discard_old:
        raise RestoreRefused(
            f"The database {database.alias!r} has no table, but {', '.join(target.unsaved)}, which a restore in place "
            f"({'; '.join(_reasons(manifest, target, options))}) would drop, and no backup of it can be made first. "
            "Drop them yourself, let it be restored beside the database (docs/postgresql.md), or give --discard-old "
            "to lose them."
        )


def _refuse_absent(database: Database, manifest: Manifest, target: Target, options: RestoreOptions) -> None:
    """Where there is no database, only a scratch can become it."""
    why = "some tables need a database to go into" if options.tables or manifest.partial else ""
    why = why or "; ".join(_reasons(manifest, target, options))
    if why:
        raise RestoreRefused(
            f"The database {target.name!r} of {database.alias!r} does not exist, and this restore does not make it: "
            f"{why}. Create it (createdb), then restore again."
        )


def _versions(database: Database, manifest: Manifest, target: Target, tools: Tools) -> Iterator[Finding]:
    where = f"PostgreSQL {target.version}, {location(database)}"
    if tools.major == target.server:
        yield Finding(Level.OK, database.alias, f"{where}; pg_restore {tools.version} fits it")
    else:
        yield Finding(Level.WARNING, database.alias, f"{where}; pg_restore {tools.version} is newer than the server")
    if major(manifest.engine.server_version) > target.server:
        yield Finding(
            Level.WARNING,
            database.alias,
            f"the backup is of PostgreSQL {manifest.engine.server_version}: what this older server does not know "
            "makes the restore fail, and nothing is touched then",
        )
    if target.missing_roles:
        yield Finding(
            Level.WARNING,
            database.alias,
            f"the roles {', '.join(target.missing_roles)} do not exist here: all is restored without owners and "
            f"privileges, and belongs to {target.user}; policies and user mappings that name them are left out",
        )


def _form_in_words(
    database: Database, manifest: Manifest, target: Target, options: RestoreOptions, form: Form
) -> Finding:
    gap = "" if options.discard_old or manifest.partial else _GAP
    if form is Form.TABLES:
        names = ", ".join(map(str, choose_tables(database, manifest, options.tables)))
        return Finding(
            Level.OK, database.alias, f"only {names}, replaced in one transaction; the site waits meanwhile{gap}"
        )
    if form is Form.IN_PLACE:
        why = "; ".join(_reasons(manifest, target, options))
        level = Level.OK if options.in_place or manifest.partial else Level.WARNING
        return Finding(level, database.alias, f"in place, in one transaction; the site waits meanwhile ({why}){gap}")
    kept = f"the old data stays as {stem(target.name)}__before_..." if target.exists else "the database is new"
    if target.exists and options.discard_old:
        kept = "the old data is dropped then"
    return Finding(Level.OK, database.alias, f"beside the database, checked, then both are renamed at once; {kept}")


def _foreign_keys(database: Database, manifest: Manifest, options: RestoreOptions) -> Iterator[Finding]:
    if found := foreign_keys(database, choose_tables(database, manifest, options.tables)):
        yield Finding(
            Level.WARNING,
            database.alias,
            "foreign keys between these tables and others are checked at the end, and a row that misses its partner "
            f"undoes everything: {'; '.join(found)}",
        )


def _space(database: Database, manifest: Manifest, target: Target) -> Iterator[Finding]:
    """The rows as text take more than on the server's disk, its indexes take some of it again: a guess."""
    needed = max(manifest.archive.raw_size, target.size)
    free = _free_on_the_server(target.door or database)
    about = f"about {megabytes(needed)} are needed on the server's disk"
    if free is None:
        yield Finding(Level.OK, database.alias, f"{about}, which cannot be asked from here")
    elif free < needed // 2:
        raise NotEnoughSpace.of("the server's data directory", needed, free, "Nothing was touched.")
    else:
        level = Level.OK if free >= needed else Level.WARNING
        yield Finding(level, database.alias, f"{about}, {megabytes(free)} are free")


def _free_on_the_server(database: Database) -> int | None:
    """Bytes, where the server runs on this machine and tells its folder to this role."""
    host = parameters(connection_settings(database)).get("host", "")
    if not host.startswith("/") and host not in ("", "localhost", "127.0.0.1", "::1"):
        return None
    with connected(database) as connection:
        query = "SELECT setting FROM pg_settings WHERE name = 'data_directory'"  # no row for whom it does not concern
        folders = [folder for (folder,) in schema.rows(connection, query)]
    try:
        return shutil.disk_usage(folders[0]).free if folders and os.access(folders[0], os.F_OK) else None
    except OSError:
        return None


def _others(database: Database, target: Target, options: RestoreOptions, form: Form) -> Iterator[Finding]:
    if not target.exists:
        return
    with connected(target.door or database) as connection:
        found = others(connection, target.name)
    if not found:
        return
    if form is not Form.BESIDE:
        what = f"may hold locks, for which it waits {database.lock_timeout} s"
    else:
        what = "are ended at the switch" if options.disconnect else "stand in the way: stop them, or give --disconnect"
    yield Finding(Level.WARNING, database.alias, f"{len(found)} connections {what}: {'; '.join(found[:10])}")
