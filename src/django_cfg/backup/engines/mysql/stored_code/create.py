"""Creates the views, triggers, routines and events of a dump, each under the session variables that its text needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from django_cfg.backup.engines.mysql.error_text import get_error_number
from django_cfg.backup.engines.mysql.session import Session, quote_name
from django_cfg.backup.engines.mysql.stored_code.parser import StoredObject

ROUTINES = ("function", "procedure", "package", "package body")
_FORBIDDEN = 1227  # to name another user as the definer
_NO_SUCH_DEFINER = 1449
_DEFAULT_SESSION = StoredObject("view", "", b"").session_statements()


@dataclass
class CreatedObjects:
    """The objects as they could be created, in the order in which that works."""

    objects: list[StoredObject] = field(default_factory=list)
    lost_definers: Counter[str] = field(default_factory=Counter)  # left out, and of how many objects

    @property
    def advice(self) -> str:
        if not self.lost_definers:
            return ""
        return (
            f"{', '.join(self.lost_definers)}, DEFINER of views, triggers, routines or events in the backup, "
            f"{'do' if len(self.lost_definers) > 1 else 'does'} not exist here or may not be named by this user, so "
            f"{'they belong' if self.lost_definers.total() > 1 else 'it belongs'} to the user who restored."
        )


def create_objects(session: Session, schema: str, objects: Iterable[StoredObject]) -> CreatedObjects:
    """Create *objects* in *schema*, with their definers where that is possible, and events disabled.

    A routine replaces another one of its name where the server can do that.
    """
    created = CreatedObjects()
    pending = sorted(objects, key=lambda item: item.rank)
    while pending:
        failures: list[tuple[StoredObject, Exception]] = []
        for item in pending:
            try:
                result = _create(session, schema, item)
            except Exception as error:
                if item.kind != "view":
                    raise
                failures.append((item, error))  # it may need another view
            else:
                created.objects.append(result)
                if result.definer != item.definer:
                    created.lost_definers[item.definer] += 1
        if len(failures) == len(pending):
            raise failures[0][1]
        pending = [item for item, _ in failures]
    return created


def _create(session: Session, schema: str, item: StoredObject) -> StoredObject:
    """Create *item*, without its definer if that user does not exist here or may not be named."""
    try:
        codes = _run(session, schema, _adapt(session, item))
    except Exception as error:
        if get_error_number(error) != _FORBIDDEN:
            raise
        codes = [_FORBIDDEN]
    if _NO_SUCH_DEFINER in codes and not can_replace(session, item.kind):
        drop_object(session, schema, item.kind, item.name)
    if not {_NO_SUCH_DEFINER, _FORBIDDEN} & set(codes):
        return item
    item = item.without_definer()
    _run(session, schema, _adapt(session, item))
    return item


def _adapt(session: Session, item: StoredObject) -> StoredObject:
    if item.kind == "event":
        return item.disabled()
    return item.with_replace() if can_replace(session, item.kind) else item


def can_replace(session: Session, kind: str) -> bool:
    """Return True if the server can replace a routine of *kind*, which keeps the grants on it."""
    return session.is_mariadb and kind in ROUTINES


def replace_objects(session: Session, schema: str, objects: Sequence[StoredObject]) -> None:
    """Create *objects* in *schema* in place of those with the same names."""
    for item in objects:
        if session.is_mariadb or item.kind == "view":
            _run(session, schema, item.with_replace())
        else:
            drop_object(session, schema, item.kind, item.name)
            _run(session, schema, item)


def drop_object(session: Session, schema: str, kind: str, name: str) -> None:
    if kind.startswith("package"):
        session.execute("SET sql_mode = 'ORACLE'")  # only this mode knows packages
    session.execute(f"DROP {kind.upper()} IF EXISTS {quote_name(schema, name)}", *_DEFAULT_SESSION)


def _run(session: Session, schema: str, item: StoredObject) -> list[int]:
    """Execute the statement of *item*; return the numbers of its warnings."""
    session.execute(f"USE {quote_name(schema)}")
    if item.database_charset:
        session.execute(f"ALTER DATABASE {quote_name(schema)} {item.database_charset.decode()}")
    session.execute(*item.session_statements())
    try:
        session.execute(item.text)
        return [code for _, code, _ in session.fetch_rows("SHOW WARNINGS")]
    finally:
        session.execute(*_DEFAULT_SESSION)
