"""The schemas beside a database: the scratch of a restore, and the old data that a restore set aside.

Both are named after the database and the moment, so that one grant with a wildcard covers them, and each holds a table
that says what it is: what has no such table was not made by us and is never touched.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django_cfg.backup.engines.base import KeptObject
from django_cfg.backup.engines.mysql.error_text import number, said
from django_cfg.backup.engines.mysql.session import Session, named, quoted
from django_cfg.backup.engines.mysql.stored_code.contents import charset
from django_cfg.backup.errors import RestoreRefused, RestoreUnderWay

SIGN = "django_cfg_backup_restore"  # the table in each of them
_NEW, _OLD = "new", "old"
_STAMP = "%Y%m%d%H%M%S"
_LONGEST = 64  # characters of a name
_ACCESS_DENIED = 1044

# States of set-aside data. Until SWITCHING the database has not been touched; from DONE on it is the backup.
PREPARED, SWITCHING, DONE = "prepared", "switching", "done"


@dataclass(frozen=True)
class Beside:
    """A schema of ours beside a database."""

    name: str
    kind: str  # new or old
    state: str
    scratch: str  # of set-aside data: where the new data came from


def _names(session: Session, moment: datetime) -> tuple[str, str]:
    """Of a scratch, and of what it will replace."""
    stamp = moment.strftime(_STAMP)
    longest = _LONGEST - len(f"__restore_{_NEW}_{stamp}")
    beginning = session.database[:longest]
    return f"{beginning}__restore_{_NEW}_{stamp}", f"{beginning}__restore_{_OLD}_{stamp}"


def require_alone(session: Session, alias: str) -> None:
    """Keep other restores of the database away as long as *session* lives; a killed one's goes with its connection.

    :raises RestoreRefused: another one does not end.
    """
    wait = session.value("SELECT @@lock_wait_timeout")  # what a killed one has begun may still be waiting
    if not is_alone(session, wait):
        raise RestoreUnderWay(
            f"Another restore of the database {alias!r} is running: wait for its end, then try again."
        )


def is_alone(session: Session, wait: int = 0) -> bool:
    """Take the lock of restores of the database within *wait* seconds; it is held as long as *session* lives."""
    lock = "django-cfg-backup:" + hashlib.sha256(session.database.encode()).hexdigest()[:40]
    return bool(session.value("SELECT GET_LOCK(%s, %s)", [lock, wait]) == 1)


def create_scratch(session: Session) -> str | None:
    """An empty schema with the database's character set; None where we may not make one."""
    name = _free_name(session)
    try:
        session.execute(f"CREATE DATABASE {quoted(name)} {charset(session, session.database)}")
    except Exception as error:
        if number(error) == _ACCESS_DENIED:
            return None
        raise
    sign(session, name, _NEW, PREPARED, "")
    return name


def _free_name(session: Session) -> str:
    """One restore may be killed and the next begin within the same second."""
    taken, moment = set(_schemas(session)), datetime.now(UTC)
    while taken.intersection(_names(session, moment)):
        moment += timedelta(seconds=1)
    return _names(session, moment)[0]


def _schemas(session: Session) -> list[str]:
    query = "SELECT schema_name FROM information_schema.schemata ORDER BY 1"
    return [name if isinstance(name, str) else name.decode() for (name,) in session.rows(query)]


def create_aside(session: Session, scratch: str) -> str:
    """The schema that will take the old data, made like the one it is moved from."""
    name = scratch.replace(f"__restore_{_NEW}_", f"__restore_{_OLD}_")
    session.execute(f"CREATE DATABASE {quoted(name)} {charset(session, session.database)}")
    sign(session, name, _OLD, PREPARED, scratch)
    return name


def sign(session: Session, name: str, kind: str, state: str, scratch: str) -> None:
    session.execute(
        f"CREATE TABLE {quoted(name, SIGN)} (made_for varchar(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, "
        "kind varchar(10) NOT NULL, state varchar(20) NOT NULL, "
        "scratch varchar(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL) ENGINE=InnoDB"
    )
    values = [session.database, kind, state, scratch]
    session.change(f"INSERT INTO {named(name, SIGN)} VALUES (%s, %s, %s, %s)", values)


def mark(session: Session, name: str, state: str) -> None:
    session.change(f"UPDATE {named(name, SIGN)} SET state = %s", [state])


def beside(session: Session) -> list[Beside]:
    """The schemas of ours beside the database, the oldest first."""
    query = (
        "SELECT table_schema FROM information_schema.tables WHERE table_name = %s AND table_schema LIKE %s ORDER BY 1"
    )
    beginning = session.database[: _LONGEST - len(f"__restore_{_NEW}_") - 14]
    pattern = "".join(f"\\{letter}" if letter in "\\%_" else letter for letter in f"{beginning}__restore_") + "%"
    signs = (
        (name, session.rows(f"SELECT made_for, kind, state, scratch FROM {quoted(name, SIGN)}"))
        for (name,) in session.rows(query, [SIGN, pattern])
    )
    return [Beside(name, *row[1:]) for name, found in signs for row in found if row[0] == session.database]


def unfinished(session: Session) -> Beside | None:
    """The switch that was interrupted, if one was."""
    return next((found for found in beside(session) if found.kind == _OLD and found.state == SWITCHING), None)


def refuse_unfinished(session: Session, alias: str) -> None:
    """
    :raises RestoreRefused: the database is between its old state and its new one.
    """
    if found := unfinished(session):
        raise RestoreRefused(
            f"A restore of the database {alias!r} was interrupted while it switched to the new data "
            f"({found.name}). Finish it: manage.py backup_restore --resume --to {alias}"
        )


def sweep(session: Session) -> list[str]:
    """Drop what restores that died have left before they touched the database; the names of those."""
    left = abandoned(session)
    for name in left:
        discard(session, name)
    return left


def abandoned(session: Session) -> list[str]:
    """What restores that died have left before they touched the database.

    Nothing while a switch is unfinished: the restored data may still be in its scratch.
    """
    if unfinished(session):
        return []
    return [found.name for found in beside(session) if found.state == PREPARED] + _unsigned(session)


def _unsigned(session: Session) -> list[str]:
    """Schemas of our name with nothing in them: a restore was killed after it had made one, before it could sign it.

    Of a database whose name was cut to make them, none: they may be another's.
    """
    if _names(session, datetime.now(UTC))[0].partition(f"__restore_{_NEW}_")[0] != session.database:
        return []
    ours = re.compile(rf"{re.escape(session.database)}__restore_({_NEW}|{_OLD})_\d{{14}}")
    return [name for name in _schemas(session) if ours.fullmatch(name) and _is_empty(session, name)]


def _is_empty(session: Session, schema: str) -> bool:
    """Nothing is in it but our table, and nothing in that."""
    asked = {"tables": "table_schema", "routines": "routine_schema", "events": "event_schema"}
    found = [
        name
        for kind, column in asked.items()
        for (name,) in session.rows(
            f"SELECT {column[: -len('_schema')]}_name FROM information_schema.{kind} WHERE {column} = %s", [schema]
        )
    ]
    return not found or (found == [SIGN] and not session.rows(f"SELECT 1 FROM {quoted(schema, SIGN)} LIMIT 1"))


def set_aside(session: Session) -> list[KeptObject]:
    """The old data that restores have kept, newest first; and what an interrupted switch has left."""
    told = (DONE, SWITCHING) if is_alone(session) else (DONE,)  # one that goes on looks like one that was interrupted
    kept = [found for found in beside(session) if found.kind == _OLD and found.state in told]
    return [
        KeptObject(found.name, size(session, found.name), _made_at(found.name), is_unfinished=found.state == SWITCHING)
        for found in reversed(kept)
    ]


def size(session: Session, schema: str) -> int:
    """Bytes of the rows and indexes of *schema*, as the server reckons them."""
    query = "SELECT COALESCE(SUM(data_length + index_length), 0) FROM information_schema.tables WHERE table_schema = %s"
    return int(session.value(query, [schema]))


def _made_at(name: str) -> datetime:
    return datetime.strptime(name[-14:], _STAMP).replace(tzinfo=UTC)


def discard(session: Session, name: str) -> None:
    session.execute(f"DROP DATABASE IF EXISTS {quoted(name)}")


def dropped(session: Session, name: str) -> str:
    """Drop the schema *name*, on which nothing depends any more; where that fails, what is left to do by hand."""
    try:
        discard(session, name)
    except Exception as error:  # noqa: BLE001  told, since the data is in its place
        return f"The schema {name} could not be dropped ({said(error)}): DROP DATABASE {quoted(name)} removes it."
    return ""
