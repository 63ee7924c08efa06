"""The switch: the old tables move out and the new ones move in by one RENAME TABLE, which is atomic.

The server cannot move triggers with their tables (error 1435), nor views (1450). They, routines and events are created
again by a plan, which is stored before the switch and was tried in the staging schema. :func:`resume_switch` finishes a
switch that was killed at any step; every step finds out whether it has been taken. That the tables have moved is proved
by a table that moved with them, the marker of the staging schema: nothing is concluded from a table that is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django_cfg.backup.engines.mysql import staging_schemas
from django_cfg.backup.engines.mysql.error_text import get_error_text
from django_cfg.backup.engines.mysql.session import Session, escape_like, quote_name, quote_name_with_values
from django_cfg.backup.engines.mysql.staging_schemas import MARKER
from django_cfg.backup.engines.mysql.stored_code.contents import Contents, drop_other_objects, list_contents
from django_cfg.backup.engines.mysql.stored_code.create import drop_object, replace_objects
from django_cfg.backup.engines.mysql.stored_code.parser import StoredObject
from django_cfg.backup.errors import BackupError, RestoreFailed

PLAN = "django_cfg_backup_plan"  # the table with the plan, in the schema of the kept data
_MOVED = "django_cfg_backup_moved"  # the marker of the staging schema, after it has moved to the kept data
OWN_TABLES = (MARKER, PLAN, _MOVED)
_TRIGGERED_TABLES = "SELECT DISTINCT event_object_table FROM information_schema.triggers WHERE trigger_schema = %s"
_SEQUENCE_DEFAULTS = """
SELECT table_name, column_name, column_default FROM information_schema.columns
WHERE table_schema = %s AND column_default LIKE %s
"""


@dataclass(frozen=True)
class SwitchPlan:
    """What a database had besides tables, and what it is to have.

    The old objects stay in the kept data for good, so that it can be used again.
    """

    old: Sequence[StoredObject]
    new: Sequence[StoredObject]
    partial: bool  # what the database has besides tables stays
    charset: str  # of the database


def save_plan(session: Session, kept: str, plan: SwitchPlan) -> None:
    """Write *plan* into the schema *kept* in one transaction."""
    session.execute(
        f"CREATE TABLE {quote_name(kept, PLAN)} (id int AUTO_INCREMENT PRIMARY KEY, generation varchar(10) NOT NULL, "
        "kind varchar(20) NOT NULL, name varchar(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, "
        "session longblob NOT NULL, statement longblob NOT NULL) ENGINE=InnoDB",
        "START TRANSACTION",
    )
    generations = {
        "charset": [StoredObject("", "", plan.charset.encode())],
        "partial": [StoredObject("", "", str(int(plan.partial)).encode())],
        "old": plan.old,
        "new": plan.new,
    }
    insert = f"INSERT INTO {quote_name_with_values(kept, PLAN)} VALUES (NULL, %s, %s, %s, %s, %s)"
    for generation, items in generations.items():
        for item in items:
            variables = b"\n".join(name + b"=" + value for name, value in item.session.items())
            session.execute(insert, values=[generation, item.kind, item.name, variables, item.text])
    session.execute("COMMIT")


def read_plan(session: Session, kept: str) -> SwitchPlan:
    found: dict[str, list[StoredObject]] = {"old": [], "new": []}
    query = f"SELECT generation, kind, name, session, statement FROM {quote_name(kept, PLAN)} ORDER BY id"
    for generation, kind, name, variables, text in session.fetch_rows(query):
        pairs = (line.partition(b"=") for line in bytes(variables).split(b"\n") if line)
        item = StoredObject(kind, name, bytes(text), {key: value for key, _, value in pairs})
        found.setdefault(generation, []).append(item)
    partial, charset = found["partial"][0].text == b"1", found["charset"][0].text.decode()
    return SwitchPlan(found["old"], found["new"], partial, charset)


def begin_switch(session: Session, staging: str, plan: SwitchPlan) -> tuple[str, str]:
    """Replace the database by the schema *staging*; return the schema with the old data, and what is left to do.

    :raises RestoreFailed: the database is between the old state and the new one. After any other error it is as it was.
    """
    kept = staging_schemas.create_kept(session, staging)
    try:
        save_plan(session, kept, plan)
        staging_schemas.set_state(session, kept, staging_schemas.SWITCHING)
        _move_tables(session, staging, kept, plan)
    except Exception as error:
        if not _roll_back(session, kept, plan):
            raise _interrupted(session, kept, error) from error
        raise
    return kept, resume_switch(session, staging, kept, plan)


def resume_switch(session: Session, staging: str, kept: str, plan: SwitchPlan) -> str:
    """Continue a switch from wherever it was interrupted to its end; return what is left to do by hand.

    :raises RestoreFailed: it has not ended; or the restored data is gone, and the database is as it was.
    """
    try:
        if _MOVED not in list_contents(session, kept).tables:
            _require_restored_data(session, staging, kept, plan)
            _move_tables(session, staging, kept, plan)
        return _finish(session, staging, kept, plan)
    except BackupError:
        raise
    except Exception as error:
        raise _interrupted(session, kept, error) from error


def _move_tables(session: Session, staging: str, kept: str, plan: SwitchPlan) -> None:
    """Drop the triggers and events, then move all tables at once."""
    database = session.database
    old, new = list_contents(session, database), list_contents(session, staging)
    if not plan.partial:
        _drop_triggers(session, old)  # waits for locks, possibly in vain: until then nothing has been dropped
        for name in old.list_names("event"):
            drop_object(session, database, "event", name)
        for name in set(old.list_names("view")) & set(new.tables):
            drop_object(session, database, "view", name)
    for name in new.list_names("trigger"):
        drop_object(session, staging, "trigger", name)
    moves = [(quote_name(database, name), quote_name(kept, name)) for name in old.tables]
    moves += [(quote_name(staging, name), quote_name(database, name)) for name in new.tables if name not in OWN_TABLES]
    moves.append((quote_name(staging, MARKER), quote_name(kept, _MOVED)))
    session.execute(f"RENAME TABLE {', '.join(f'{source} TO {target}' for source, target in moves)}")


def _drop_triggers(session: Session, old: Contents) -> None:
    """Drop the triggers with their tables locked: after that no transaction blocks the steps that follow."""
    if not old.list_names("trigger"):
        return
    tables = [name for (name,) in session.fetch_text(_TRIGGERED_TABLES, [session.database])]
    session.execute("LOCK TABLES " + ", ".join(f"{quote_name(session.database, name)} WRITE" for name in tables))
    try:
        for name in old.list_names("trigger"):
            drop_object(session, session.database, "trigger", name)
    finally:
        session.execute("UNLOCK TABLES")


def _finish(session: Session, staging: str, kept: str, plan: SwitchPlan) -> str:
    _adapt_sequence_defaults(session, staging)
    if not plan.partial:
        drop_other_objects(session, session.database, plan.new)  # the new ones are replaced, and keep their grants
    replace_objects(session, session.database, plan.new)
    session.execute(f"ALTER DATABASE {quote_name(session.database)} {plan.charset}")
    advice = staging_schemas.drop_or_advise(session, staging)
    staging_schemas.set_state(session, kept, staging_schemas.DONE)
    return advice


def _adapt_sequence_defaults(session: Session, staging: str) -> None:
    """Put the database into column defaults that name the schema of a sequence, which was the staging schema."""
    old, new = f"{quote_name(staging)}.", f"{quote_name(session.database)}."
    changes: dict[str, list[str]] = {}
    rows = session.fetch_text(_SEQUENCE_DEFAULTS, [session.database, f"%{escape_like(old)}%"])
    for table, column, default in rows:
        change = f"ALTER COLUMN {quote_name(column)} SET DEFAULT ({default.replace(old, new)})"
        changes.setdefault(table, []).append(change)
    for table, columns in changes.items():
        session.execute(f"ALTER TABLE {quote_name(session.database, table)} {', '.join(columns)}")


def _require_restored_data(session: Session, staging: str, kept: str, plan: SwitchPlan) -> None:
    """Raise RestoreFailed if the restored data, whose tables have not moved, does not exist any more."""
    found = set(list_contents(session, staging).tables)
    if MARKER in found and found.difference(OWN_TABLES):
        return
    text = (
        f"The restored data of the database {session.alias!r}, in the schema {staging}, was removed before it took its "
        "place."
    )
    if not _roll_back(session, kept, plan):
        raise RestoreFailed(
            f"{text} The database has its old tables. Its views, triggers, routines and events could not be created "
            f"again; their text is in {kept}.{PLAN}. See the server's log, then try again."
        )
    raise RestoreFailed(f"{text} Nothing is left to resume, and the database is as it was: restore again.")


def _roll_back(session: Session, kept: str, plan: SwitchPlan) -> bool:
    """Create again what was dropped of the database; return False if its tables have moved, or if this fails."""
    try:
        if set(list_contents(session, kept).tables).difference((MARKER, PLAN)):
            return False
        existing = list_contents(session, session.database).stored_code
        lost = [item for item in plan.old if (item.kind, item.name) not in existing]
        replace_objects(session, session.database, lost)
        staging_schemas.drop_schema(session, kept)
    except Exception:  # noqa: BLE001  most likely the connection is lost; the caller reports the state
        return False
    return True


def _interrupted(session: Session, kept: str, error: Exception) -> RestoreFailed:
    return RestoreFailed(
        f"The switch of the database {session.alias!r} to the restored data was interrupted: {get_error_text(error)}. "
        "Part of its views, triggers, routines or events may be missing until it is finished: manage.py backup_restore "
        f"--resume --to {session.alias}. No data is lost; the old data is in the schema {kept} or still in its place."
    )
