"""The schemas next to a database: the staging schema of a restore, and the old data that a restore has kept.

Both are named after the database and the time, so that one GRANT with a wildcard covers them, and each holds a marker:
a table that says what the schema is. A schema without it was not made by this package and is never touched.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django_cfg.backup.engines.base import KeptObject
from django_cfg.backup.engines.mysql.error_text import get_error_number, get_error_text
from django_cfg.backup.engines.mysql.schema import get_charset, get_schema_size
from django_cfg.backup.engines.mysql.session import (
    Session,
    end_other_sessions,
    escape_like,
    quote_name,
    quote_name_with_values,
)
from django_cfg.backup.errors import RestoreRefused, RestoreUnderWay

MARKER = "django_cfg_backup_restore"  # the table
_NEW, _OLD = "new", "old"
_TIMESTAMP = "%Y%m%d%H%M%S"
_MAX_NAME = 64  # characters
_ACCESS_DENIED = 1044

# States of kept data. Until SWITCHING the database has not been touched; from DONE on it is the backup.
PREPARED, SWITCHING, DONE = "prepared", "switching", "done"


@dataclass(frozen=True)
class RestoreSchema:
    """A schema next to a database, as its marker describes it."""

    name: str
    kind: str  # new: a staging schema; old: kept data
    state: str
    staging: str  # of kept data: where the new data came from


def lock_restores(session: Session) -> None:
    """Exclude other restores of the database until *session* ends; the lock of a killed one goes with its connection.

    :raises RestoreUnderWay: another one does not end.
    """
    timeout = session.fetch_value("SELECT @@lock_wait_timeout")  # a statement of a killed one may still be waiting
    if not try_lock_restores(session, timeout):
        raise RestoreUnderWay(
            f"Another restore of the database {session.alias!r} is running: wait for its end, then try again."
        )


def try_lock_restores(session: Session, timeout: int = 0) -> bool:
    """Return True if the lock of restores was free, or became free within *timeout* seconds, and is now held."""
    lock = "django-cfg-backup:" + hashlib.sha256(session.database.encode()).hexdigest()[:40]
    return bool(session.fetch_value("SELECT GET_LOCK(%s, %s)", [lock, timeout]) == 1)


def create_staging(session: Session) -> str | None:
    """Create an empty schema with the database's character set; return None if the user may not create one."""
    taken, moment = set(_list_schemas(session)), datetime.now(UTC)
    while taken.intersection(_build_names(session, moment)):  # a restore was killed within this second
        moment += timedelta(seconds=1)
    name, _ = _build_names(session, moment)
    try:
        session.execute(f"CREATE DATABASE {quote_name(name)} {get_charset(session, session.database)}")
    except Exception as error:
        if get_error_number(error) == _ACCESS_DENIED:
            return None
        raise
    _create_marker(session, RestoreSchema(name, _NEW, PREPARED, ""))
    return name


def create_kept(session: Session, staging: str) -> str:
    """Create the schema that will take the old data, with the database's character set."""
    name = staging.replace(f"__restore_{_NEW}_", f"__restore_{_OLD}_")
    session.execute(f"CREATE DATABASE {quote_name(name)} {get_charset(session, session.database)}")
    _create_marker(session, RestoreSchema(name, _OLD, PREPARED, staging))
    return name


def set_state(session: Session, name: str, state: str) -> None:
    session.execute(f"UPDATE {quote_name_with_values(name, MARKER)} SET state = %s", values=[state])


def find_unfinished(session: Session) -> RestoreSchema | None:
    """Return the kept data of a switch that was interrupted, if there is one."""
    found = _list_restore_schemas(session)
    return next((schema for schema in found if schema.kind == _OLD and schema.state == SWITCHING), None)


def refuse_unfinished(session: Session) -> None:
    """Raise RestoreRefused if the database is between its old state and its new one."""
    if found := find_unfinished(session):
        raise RestoreRefused(
            f"A restore of the database {session.alias!r} was interrupted while it switched to the new data "
            f"({found.name}). Finish it: manage.py backup_restore --resume --to {session.alias}"
        )


def list_abandoned(session: Session) -> list[str]:
    """Return what restores that died before they touched the database have left.

    Nothing while a switch is unfinished: the restored data may still be in its staging schema.
    """
    if find_unfinished(session):
        return []
    prepared = [schema.name for schema in _list_restore_schemas(session) if schema.state == PREPARED]
    return prepared + _list_unmarked(session)


def drop_abandoned(session: Session) -> list[str]:
    """Drop what :func:`list_abandoned` returns."""
    names = list_abandoned(session)
    for name in names:
        end_other_sessions(session, name)  # the server may still be adding an index for a client that was killed
        drop_schema(session, name)
    return names


def list_kept(session: Session) -> list[KeptObject]:
    """Return the old data that restores have kept, newest first; and what an interrupted switch has left."""
    # A switch that is running looks like one that was interrupted.
    states = (DONE, SWITCHING) if try_lock_restores(session) else (DONE,)
    found = [schema for schema in _list_restore_schemas(session) if schema.kind == _OLD and schema.state in states]
    return [
        KeptObject(
            schema.name,
            get_schema_size(session, schema.name),
            datetime.strptime(schema.name[-14:], _TIMESTAMP).replace(tzinfo=UTC),
            is_unfinished=schema.state == SWITCHING,
        )
        for schema in reversed(found)
    ]


def drop_schema(session: Session, name: str) -> None:
    session.execute(f"DROP DATABASE IF EXISTS {quote_name(name)}")


def drop_or_advise(session: Session, name: str) -> str:
    """Drop the schema *name*, which is not needed any more; return what is left to do by hand if that fails."""
    try:
        drop_schema(session, name)
    except Exception as error:  # noqa: BLE001  reported: the restore has succeeded
        text = get_error_text(error)
        return f"The schema {name} could not be dropped ({text}): DROP DATABASE {quote_name(name)} removes it."
    return ""


def _build_names(session: Session, moment: datetime) -> tuple[str, str]:
    """Return the name of a staging schema, and of the kept data that belongs to it."""
    prefix, timestamp = _build_prefix(session), moment.strftime(_TIMESTAMP)
    return f"{prefix}{_NEW}_{timestamp}", f"{prefix}{_OLD}_{timestamp}"


def _build_prefix(session: Session) -> str:
    return session.database[: _MAX_NAME - len(f"__restore_{_NEW}_") - 14] + "__restore_"


def _list_schemas(session: Session) -> list[str]:
    query = "SELECT schema_name FROM information_schema.schemata ORDER BY 1"
    return [name for (name,) in session.fetch_text(query)]


def _create_marker(session: Session, schema: RestoreSchema) -> None:
    session.execute(
        f"CREATE TABLE {quote_name(schema.name, MARKER)} (made_for varchar(64) CHARACTER SET utf8mb4 COLLATE "
        "utf8mb4_bin NOT NULL, kind varchar(10) NOT NULL, state varchar(20) NOT NULL, "
        "scratch varchar(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL) ENGINE=InnoDB"
    )
    values = [session.database, schema.kind, schema.state, schema.staging]
    insert = f"INSERT INTO {quote_name_with_values(schema.name, MARKER)} VALUES (%s, %s, %s, %s)"
    session.execute(insert, values=values)


def _list_restore_schemas(session: Session) -> list[RestoreSchema]:
    """Return the schemas of this package next to the database, oldest first."""
    query = (
        "SELECT table_schema FROM information_schema.tables WHERE table_name = %s AND table_schema LIKE %s ORDER BY 1"
    )
    markers = (
        (name, session.fetch_rows(f"SELECT made_for, kind, state, scratch FROM {quote_name(name, MARKER)}"))
        for (name,) in session.fetch_text(query, [MARKER, escape_like(_build_prefix(session)) + "%"])
    )
    return [RestoreSchema(name, *row[1:]) for name, rows in markers for row in rows if row[0] == session.database]


def _list_unmarked(session: Session) -> list[str]:
    """Return empty schemas with a name of ours: a restore was killed before it had created the marker.

    Where the database's name had to be cut for the name of a schema there are none: they may belong to another one.
    """
    if _build_prefix(session) != f"{session.database}__restore_":
        return []
    ours = re.compile(rf"{re.escape(session.database)}__restore_({_NEW}|{_OLD})_\d{{14}}")
    return [name for name in _list_schemas(session) if ours.fullmatch(name) and _is_empty(session, name)]


def _is_empty(session: Session, schema: str) -> bool:
    """Return True if the schema holds nothing but the marker, and the marker has no row."""
    queries = (
        "SELECT table_name FROM information_schema.tables WHERE table_schema = %s",
        "SELECT routine_name FROM information_schema.routines WHERE routine_schema = %s",
        "SELECT event_name FROM information_schema.events WHERE event_schema = %s",
    )
    found = [name for query in queries for (name,) in session.fetch_text(query, [schema])]
    marker = quote_name(schema, MARKER)
    return not found or (found == [MARKER] and not session.fetch_rows(f"SELECT 1 FROM {marker} LIMIT 1"))
