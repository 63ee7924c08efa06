"""The plan of a switch, kept in the schema of the old data: whoever finds the switch interrupted finishes it by this.

It holds, text by text, what the database had besides tables and what it is to have; the first stays there for good, so
that the old data can be put to use again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django_cfg.backup.engines.mysql.session import Session, named, quoted
from django_cfg.backup.engines.mysql.stored_code.parser import Item

TABLE = "django_cfg_backup_plan"
_OLD, _NEW = "old", "new"


@dataclass(frozen=True)
class Plan:
    old: Sequence[Item]
    new: Sequence[Item]
    partial: bool  # what the database has besides tables stays
    charset: str  # of the database


def save(session: Session, aside: str, plan: Plan) -> None:
    """Write *plan* into the schema *aside*, in one transaction."""
    session.execute(
        f"CREATE TABLE {quoted(aside, TABLE)} (id int AUTO_INCREMENT PRIMARY KEY, generation varchar(10) NOT NULL, "
        "kind varchar(20) NOT NULL, name varchar(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, "
        "session longblob NOT NULL, statement longblob NOT NULL) ENGINE=InnoDB"
    )
    session.execute("START TRANSACTION")
    _insert(session, aside, "charset", [Item("", "", plan.charset.encode())])
    _insert(session, aside, "partial", [Item("", "", str(int(plan.partial)).encode())])
    _insert(session, aside, _OLD, plan.old)
    _insert(session, aside, _NEW, plan.new)
    session.execute("COMMIT")


def _insert(session: Session, aside: str, generation: str, items: Iterable[Item]) -> None:
    query = f"INSERT INTO {named(aside, TABLE)} VALUES (NULL, %s, %s, %s, %s, %s)"
    for item in items:
        settings = b"\n".join(name + b"=" + value for name, value in item.session.items())
        session.change(query, [generation, item.kind, item.name, settings, item.text])


def read(session: Session, aside: str) -> Plan:
    found: dict[str, list[Item]] = {}
    query = f"SELECT generation, kind, name, session, statement FROM {quoted(aside, TABLE)} ORDER BY id"
    for generation, kind, name, settings, text in session.rows(query):
        pairs = (line.partition(b"=") for line in bytes(settings).split(b"\n") if line)
        item = Item(kind, name, bytes(text), {key: value for key, _, value in pairs})
        found.setdefault(generation, []).append(item)
    return Plan(
        found.get(_OLD, []),
        found.get(_NEW, []),
        partial=found["partial"][0].text == b"1",
        charset=found["charset"][0].text.decode(),
    )
