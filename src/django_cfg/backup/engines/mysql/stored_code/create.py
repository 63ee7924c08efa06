"""Making views, triggers, routines and events of a dump in a database, each in the session that its text needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from django_cfg.backup.engines.mysql.error_text import number
from django_cfg.backup.engines.mysql.session import Session, quoted
from django_cfg.backup.engines.mysql.stored_code.parser import Item

ROUTINES = ("function", "procedure", "package", "package body")
_FORBIDDEN = 1227  # to name another as the definer
_NO_SUCH_DEFINER = 1449
_USUAL = Item("view", "", b"").settings()


@dataclass
class Made:
    """The items as they could be made, in the order in which that works."""

    items: list[Item] = field(default_factory=list)
    strangers: dict[str, int] = field(default_factory=dict)  # definers that had to be left out, and how often

    @property
    def advice(self) -> str:
        if not self.strangers:
            return ""
        many = sum(self.strangers.values()) > 1
        return (
            f"{', '.join(self.strangers)}, DEFINER of views, triggers, routines or events in the backup, "
            f"{'do' if len(self.strangers) > 1 else 'does'} not exist here or may not be named by this user, so "
            f"{'they belong' if many else 'it belongs'} to the user who restored."
        )


def try_out(session: Session, schema: str, items: Iterable[Item]) -> Made:
    """Make *items* in *schema*, with a definer of theirs where that can be; events so that they do not run.

    A routine takes the place of another of its name where the server can do that.
    """
    made = Made()
    pending = sorted(items, key=lambda item: item.rank)
    while pending:
        late = [item for item in pending if not _tried(session, schema, item, made)]
        if len(late) == len(pending):
            _make_own_way(session, schema, late[0])  # raises what stands in the way
        pending = late
    return made


def _tried(session: Session, schema: str, item: Item, made: Made) -> bool:
    """False for a view that may need another one first."""
    try:
        kept = _make_own_way(session, schema, item)
    except Exception:
        if item.kind == "view":
            return False
        raise
    made.items.append(kept)
    if kept.definer != item.definer:
        made.strangers[item.definer] = made.strangers.get(item.definer, 0) + 1
    return True


def _make_own_way(session: Session, schema: str, item: Item) -> Item:
    """Make *item*; without its definer where that is unknown here or may not be named."""
    trial = _trial(session, item.kind)
    try:
        told = _run(session, schema, trial(item))
    except Exception as error:
        if number(error) != _FORBIDDEN:
            raise
        told = [_FORBIDDEN]
    if _NO_SUCH_DEFINER in told and not replaces(session, item.kind):
        drop(session, schema, item.kind, item.name)
    if not {_NO_SUCH_DEFINER, _FORBIDDEN} & set(told):
        return item
    item = item.without_definer()
    _run(session, schema, trial(item))
    return item


def _trial(session: Session, kind: str) -> Callable[[Item], Item]:
    if kind == "event":
        return Item.disabled
    return Item.replacing if replaces(session, kind) else lambda same: same


def replaces(session: Session, kind: str) -> bool:
    """Whether the server can put a new routine of *kind* in the place of an old one, whose grants stay then."""
    return session.is_mariadb and kind in ROUTINES


def put(session: Session, schema: str, items: Sequence[Item]) -> None:
    """Make *items* in *schema*, in the place of those of their names."""
    for item in items:
        if session.is_mariadb or item.kind == "view":
            _run(session, schema, item.replacing())
        else:
            drop(session, schema, item.kind, item.name)
            _run(session, schema, item)


def drop(session: Session, schema: str, kind: str, name: str) -> None:
    if kind.startswith("package"):
        session.execute("SET sql_mode = 'ORACLE'")  # elsewhere it is no word
    session.execute(f"DROP {kind.upper()} IF EXISTS {quoted(schema, name)}", *_USUAL)


def _run(session: Session, schema: str, item: Item) -> list[int]:
    """Make one item; the numbers of the warnings."""
    session.execute(f"USE {quoted(schema)}")
    if charset := item.database_charset():
        session.execute(f"ALTER DATABASE {quoted(schema)} {charset.decode()}")
    session.execute(*item.settings())
    try:
        session.execute(item.text)
        return [code for _, code, _ in session.rows("SHOW WARNINGS")]
    finally:
        session.execute(*_USUAL)
