"""The sessions of a restore: how many work at the same time, and with which settings of the server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.postgresql.connection import connect, get_program_settings
from django_cfg.backup.engines.postgresql.libpq import list_parameters
from django_cfg.backup.engines.postgresql.schema import fetch_rows
from django_cfg.backup.errors import DatabaseUnavailable
from django_cfg.backup.pipeline.parallel_compressor import threads

# What the server, the role and the database still let in. Of the server's own processes some are counted too, and a
# superuser's limits as if they held for it: the guess is on the safe side.
_FREE = """
SELECT least(
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0)
        - (SELECT sum(numbackends) FROM pg_stat_database)::int,
    (SELECT rolconnlimit - (SELECT count(*) FROM pg_stat_activity a WHERE a.usesysid = r.oid)
     FROM pg_roles r WHERE rolname = session_user AND rolconnlimit >= 0),
    (SELECT datconnlimit FROM pg_database WHERE datname = current_database() AND datconnlimit >= 0))
"""
# maintenance_work_mem stays as the server has it: more made no index faster (measured with keys of up to 200 MB, whose
# sorting took longer with 256 MB than with 64 MB).
_SETTINGS = {
    "default_transaction_read_only": "off",  # an operator may freeze a site with it before a restore
    "synchronous_commit": "off",  # that of the switch waits for all before it; many small tables take half as long
}
_READ_ONLY = "SHOW default_transaction_read_only"


@dataclass(frozen=True)
class RestoreSessions:
    """How a restore connects to its staging database."""

    database: Database  # with the settings of its sessions
    jobs: int  # sessions at the same time
    is_read_only: bool  # they begin so, and pg_restore does not end that


def prepare_sessions(staging: Database, wanted: int | None) -> RestoreSessions:
    """Return how *staging* is loaded.

    :param wanted: that many sessions; None: one per core of this machine, at most four.
    """
    with connect(staging) as connection:
        ((free,),) = fetch_rows(connection, _FREE)
        jobs = max(1, min(wanted or threads(), free // 2))
    tuned = _add_settings(staging, _SETTINGS)
    for database in (tuned, staging):
        try:
            with connect(database) as connection:
                is_read_only = fetch_rows(connection, _READ_ONLY) == [("on",)]
        except DatabaseUnavailable:  # a pooler, such as PgBouncer, may refuse settings at the beginning of a session
            if database is staging:
                raise
        else:
            break
    return RestoreSessions(database, jobs, is_read_only)


def _add_settings(database: Database, values: Mapping[str, str]) -> Database:
    """Return *database* with *values* for each session, after what the project sets itself."""
    settings = get_program_settings(database)
    given = list_parameters(settings).get("options") or os.environ.get("PGOPTIONS", "")
    options = " ".join(filter(None, (given, *(f"-c {name}={value}" for name, value in values.items()))))
    return replace(
        database, settings={**settings, "OPTIONS": {**settings.get("OPTIONS", {}), "options": options}}, connection={}
    )
