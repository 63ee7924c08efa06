"""What can be checked before a restore begins: programs, versions, the form, space, other connections."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from django_cfg.backup.engines.base import Database, Finding, Level, Preflight, RestoreOptions
from django_cfg.backup.engines.postgresql.connection import connect
from django_cfg.backup.engines.postgresql.libpq import describe_location, get_connection_settings, list_parameters
from django_cfg.backup.engines.postgresql.restore import Form, RestorePlan, plan_restore
from django_cfg.backup.engines.postgresql.schema import fetch_rows
from django_cfg.backup.engines.postgresql.staging_databases import shorten_name
from django_cfg.backup.engines.postgresql.switch import list_sessions
from django_cfg.backup.engines.postgresql.table_restore import list_event_triggers, list_foreign_keys
from django_cfg.backup.engines.postgresql.tools import parse_major
from django_cfg.backup.engines.table_comparison import describe_foreign_keys
from django_cfg.backup.errors import NotEnoughSpace
from django_cfg.backup.formatting import counted, megabytes
from django_cfg.backup.manifest import Manifest

Result = tuple[Level, str]


def run_preflight(database: Database, manifest: Manifest, options: RestoreOptions) -> Preflight:
    """Check the programs, versions, form, space and other connections of a restore.

    :raises BackupError: the restore would fail.
    """
    plan = plan_restore(database, manifest, options)
    results = [*_check_versions(plan), _describe_form(plan, options)]
    if plan.form is Form.TABLES:
        results += [*_check_foreign_keys(plan), *_check_event_triggers(plan)]
    else:
        results += [*_describe_left_out(plan, options), _check_space(plan)]
    results += _check_sessions(plan, options)
    findings = tuple(Finding(level, database.alias, text) for level, text in results)
    is_staging = plan.form is Form.STAGING
    return Preflight(findings, is_staging, keeps_old_data=is_staging, target_exists=plan.target.exists)


def _check_versions(plan: RestorePlan) -> Iterator[Result]:
    target, of_backup = plan.target, plan.target.manifest.engine.server_version
    programs = f"PostgreSQL {target.version}, {describe_location(target.database)}; pg_restore {target.tools.version}"
    if target.tools.major == target.server:
        yield Level.OK, f"{programs} fits it"
    else:
        yield Level.WARNING, f"{programs} is newer than the server"
    if parse_major(of_backup) > target.server:
        text = "what this older server does not know makes the restore fail, and then nothing is changed"
        yield Level.WARNING, f"the backup is of PostgreSQL {of_backup}: {text}"
    if target.missing_roles:
        text = (
            f"the roles {', '.join(target.missing_roles)} do not exist here: all is restored without owners and "
            f"privileges, and belongs to {target.user}; policies and user mappings that name them are left out"
        )
        yield Level.WARNING, text


def _describe_left_out(plan: RestorePlan, options: RestoreOptions) -> Iterator[Result]:
    target = plan.target
    if target.missing_tablespaces:
        text = f"the tablespaces {', '.join(target.missing_tablespaces)} do not exist here, or not for {target.user}"
        yield Level.WARNING, f"{text}: everything goes into the default tablespace"
    if target.missing_access_methods:
        text = f"the access methods {', '.join(target.missing_access_methods)} do not exist here"
        yield Level.WARNING, f"{text}; what makes them has to be in the backup, or is left out with --skip"
    if options.skip:
        yield Level.WARNING, f"without {', '.join(options.skip)} (--skip)"
    if options.skip_failing:
        text = "policies, triggers, refreshes of materialized views, grants and comments that fail are left out"
        yield Level.WARNING, f"{text} (--skip-failing)"


def _describe_form(plan: RestorePlan, options: RestoreOptions) -> Result:
    target = plan.target
    if plan.form is Form.STAGING:
        old = (
            f"the old data is kept as {shorten_name(target.name)}__before_..."
            if target.exists
            else "the database is new"
        )
        if target.exists and options.discard_old:
            old = "the old data is dropped then"
        return Level.OK, f"into a scratch database, checked, then both are renamed at once; {old}"
    # A backup cannot hold the locks of the transaction that follows it: what comes between is in neither.
    gap = "; what it writes after the backup that is made first is lost: stop it"
    waits = f"the site waits until it ends{'' if options.discard_old or target.manifest.partial else gap}"
    if plan.form is Form.TABLES:
        return Level.OK, f"only {', '.join(map(str, plan.chosen))}, replaced in one transaction; {waits}"
    level = Level.OK if options.in_place or target.manifest.partial else Level.WARNING
    return level, f"in place, in one transaction ({'; '.join(plan.reasons)}); {waits}"


def _check_foreign_keys(plan: RestorePlan) -> Iterator[Result]:
    if found := list_foreign_keys(plan.target.database, plan.chosen):
        yield Level.WARNING, describe_foreign_keys(found)


def _check_event_triggers(plan: RestorePlan) -> Iterator[Result]:
    if names := list_event_triggers(plan.target.database):
        text = "run when the constraints of the tables are made again, since this role may not disable them"
        yield Level.WARNING, f"the event triggers {', '.join(names)} {text}"


def _check_space(plan: RestorePlan) -> Result:
    """Estimate the space: rows take more as text than on the server's disk, whose indexes take some of it again."""
    needed = max(plan.target.manifest.raw_size, plan.target.size)
    free = _find_free_space(plan.target.maintenance or plan.target.database)
    text = f"about {megabytes(needed)} are needed on the server's disk"
    if free is None:
        return Level.OK, f"{text}, whose free space is not known here"
    if free < needed // 2:
        raise NotEnoughSpace.of("the server's data directory", needed, free, "Nothing was touched.")
    return Level.OK if free >= needed else Level.WARNING, f"{text}, {megabytes(free)} are free"


def _find_free_space(database: Database) -> int | None:
    """Return the free bytes if the server runs on this machine and shows its data directory to this role."""
    host = list_parameters(get_connection_settings(database)).get("host", "")
    if not host.startswith("/") and host not in ("", "localhost", "127.0.0.1", "::1"):
        return None
    with connect(database) as connection:
        # other roles get no row
        folders = fetch_rows(connection, "SELECT setting FROM pg_settings WHERE name = 'data_directory'")
    try:
        return shutil.disk_usage(folders[0][0]).free if folders and os.access(folders[0][0], os.F_OK) else None
    except OSError:
        return None


def _check_sessions(plan: RestorePlan, options: RestoreOptions) -> Iterator[Result]:
    target = plan.target
    if not target.exists:
        return
    with connect(target.maintenance or target.database) as connection:
        found = list_sessions(connection, target.name)
    if found:
        is_one = len(found) == 1
        if plan.form is not Form.STAGING:
            effect = f"may hold locks, for which it waits {target.database.lock_timeout} s"
        elif options.disconnect:
            effect = f"{'is' if is_one else 'are'} ended at the switch"
        else:
            effect = f"{'is' if is_one else 'are'} in the way: stop {'it' if is_one else 'them'}, or give --disconnect"
        yield Level.WARNING, f"{counted(len(found), 'connection')} {effect}: {'; '.join(found[:10])}"
