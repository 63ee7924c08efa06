"""The switch: the old tables move out and the new ones move in by one RENAME TABLE, which is all or nothing.

Triggers cannot move with their tables (error 1435), nor views at all (1450): they, routines and events are made anew
by a plan that has been written down before, and that was tried in the scratch. A switch that is killed is finished by
:func:`resume`, whatever it was at; every step finds out by itself whether it has been taken. That the tables have moved
is told by a table that moved with them, the scratch's sign: nothing is concluded from what is missing.
"""

from __future__ import annotations

from django_cfg.backup.engines.mysql import staging
from django_cfg.backup.engines.mysql import switch_plan as plans
from django_cfg.backup.engines.mysql.error_text import said
from django_cfg.backup.engines.mysql.session import Session, quoted
from django_cfg.backup.engines.mysql.stored_code.contents import Contents, contents, drop_code
from django_cfg.backup.engines.mysql.stored_code.create import drop, put
from django_cfg.backup.engines.mysql.switch_plan import Plan
from django_cfg.backup.errors import BackupError, RestoreFailed

MOVED = "django_cfg_backup_moved"  # the scratch's sign, when it has come into the schema of the old data
OURS = (staging.SIGN, plans.TABLE, MOVED)
_TRIGGERED = "SELECT DISTINCT event_object_table FROM information_schema.triggers WHERE trigger_schema = %s"
_DRAWN = """
SELECT table_name, column_name, column_default FROM information_schema.columns
WHERE table_schema = %s AND column_default LIKE %s
"""


def begin(session: Session, new: str, plan: Plan, alias: str) -> tuple[str, str]:
    """Put the schema *new* in the place of the database; where the old data is, and what is left to do by hand.

    :raises RestoreFailed: it stands between the old state and the new one. Any other error: it is as it was.
    """
    aside = staging.create_aside(session, new)
    try:
        plans.save(session, aside, plan)
        staging.mark(session, aside, staging.SWITCHING)
        _move(session, new, aside, plan)
    except Exception as error:
        if not _is_undone(session, aside, plan):
            raise _interrupted(alias, aside, error) from error
        raise
    return aside, resume(session, new, aside, plan, alias)


def resume(session: Session, new: str, aside: str, plan: Plan, alias: str) -> str:
    """Go on with a switch wherever it was interrupted, to its end; what is left to do by hand.

    :raises RestoreFailed: it did not come to its end; or the restored data is gone, and the database is as it was.
    """
    try:
        if not _has_moved(session, aside):
            _require_new(session, new, aside, plan, alias)
            _move(session, new, aside, plan)
        return _finish(session, new, aside, plan)
    except BackupError:
        raise
    except Exception as error:
        raise _interrupted(alias, aside, error) from error


def _finish(session: Session, new: str, aside: str, plan: Plan) -> str:
    _draw_from_here(session, new)
    if not plan.partial:
        drop_code(session, session.database, plan.new)  # the rest is replaced: never missing, it keeps its grants
    put(session, session.database, plan.new)
    session.execute(f"ALTER DATABASE {quoted(session.database)} {plan.charset}")
    advice = staging.dropped(session, new)
    staging.mark(session, aside, staging.DONE)
    return advice


def _has_moved(session: Session, aside: str) -> bool:
    return MOVED in contents(session, aside).tables


def _require_new(session: Session, new: str, aside: str, plan: Plan, alias: str) -> None:
    """
    :raises RestoreFailed: what was to take the place of the old data, which has not moved, is not there any more.
    """
    found = set(contents(session, new).tables)
    if staging.SIGN in found and found.difference(OURS):
        return
    gone = f"The restored data of the database {alias!r}, in the schema {new}, was removed before it took its place."
    if not _is_undone(session, aside, plan):
        raise RestoreFailed(
            f"{gone} The database has its old tables; what else it had is kept as text in {aside}.{plans.TABLE}, and "
            "could not be given back. See the server's log, then try again."
        )
    raise RestoreFailed(f"{gone} Nothing is left to resume, and the database is as it was: restore again.")


def _move(session: Session, new: str, aside: str, plan: Plan) -> None:
    """Everything that acts by itself goes first, then all tables at once."""
    here, coming = contents(session, session.database), contents(session, new)
    if not plan.partial:
        _drop_triggers(session, here)  # it may wait in vain: until then nothing has been taken
        for name in here.of("event"):
            drop(session, session.database, "event", name)
        for name in set(here.of("view")) & set(coming.tables):
            drop(session, session.database, "view", name)
    for name in coming.of("trigger"):
        drop(session, new, "trigger", name)
    out = [(session.database, name, aside) for name in here.tables]
    into = [(new, name, session.database) for name in coming.tables if name not in OURS]
    moves = [f"{quoted(source, name)} TO {quoted(target, name)}" for source, name, target in out + into]
    moves.append(f"{quoted(new, staging.SIGN)} TO {quoted(aside, MOVED)}")
    session.execute(f"RENAME TABLE {', '.join(moves)}")


def _drop_triggers(session: Session, here: Contents) -> None:
    """With their tables locked: once that is granted, no transaction is in the way of what follows."""
    if not here.of("trigger"):
        return
    tables = [name for (name,) in session.rows(_TRIGGERED, [session.database])]
    session.execute("LOCK TABLES " + ", ".join(f"{quoted(session.database, name)} WRITE" for name in tables))
    try:
        for name in here.of("trigger"):
            drop(session, session.database, "trigger", name)
    finally:
        session.execute("UNLOCK TABLES")


def _is_undone(session: Session, aside: str, plan: Plan) -> bool:
    """Whether the database, whose tables could not be moved, has been given back all that was taken from it."""
    try:
        if set(contents(session, aside).tables).difference((staging.SIGN, plans.TABLE)):
            return False  # they have moved
        there = contents(session, session.database).code
        put(session, session.database, [item for item in plan.old if (item.kind, item.name) not in there])
        staging.discard(session, aside)
    except Exception:  # noqa: BLE001  the connection is lost, most likely; what that means is told
        return False
    return True


def _interrupted(alias: str, aside: str, error: Exception) -> RestoreFailed:
    return RestoreFailed(
        f"The switch of the database {alias!r} to the restored data was interrupted: {said(error)}. Part of its views, "
        f"triggers, routines or events may be missing until it is finished: manage.py backup_restore --resume --to "
        f"{alias}. No data is lost; what it had before is in the schema {aside} or still in its place."
    )


def _draw_from_here(session: Session, new: str) -> None:
    """A default that draws from a sequence names the sequence's schema, which was the scratch."""
    was, here = f"{quoted(new)}.", f"{quoted(session.database)}."
    changes: dict[str, list[str]] = {}
    for table, column, default in session.rows(_DRAWN, [session.database, f"%{_pattern(was)}%"]):
        drawn = str(default).replace(was, here)
        changes.setdefault(table, []).append(f"ALTER COLUMN {quoted(column)} SET DEFAULT ({drawn})")
    for table, columns in changes.items():
        session.execute(f"ALTER TABLE {quoted(session.database, table)} {', '.join(columns)}")


def _pattern(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "\\%_" else letter for letter in text)
