"""What else a database holds besides rows: listed so that it can be moved, dropped or made anew."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django_cfg.backup.engines.mysql.session import Session, quoted
from django_cfg.backup.engines.mysql.stored_code.create import drop, replaces
from django_cfg.backup.engines.mysql.stored_code.parser import Item

_TABLES = """
SELECT table_name, table_type FROM information_schema.tables
WHERE table_schema = %s AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED', 'SEQUENCE') ORDER BY 1
"""
_CODE = """
SELECT 'view', table_name FROM information_schema.views WHERE table_schema = %s
UNION ALL SELECT 'trigger', trigger_name FROM information_schema.triggers WHERE trigger_schema = %s
UNION ALL SELECT 'event', event_name FROM information_schema.events WHERE event_schema = %s
UNION ALL SELECT LOWER(routine_type), routine_name FROM information_schema.routines WHERE routine_schema = %s
"""


@dataclass(frozen=True)
class Contents:
    tables: dict[str, str]  # their names, and "sequence" or "table"
    code: frozenset[tuple[str, str]]  # kind, name

    def of(self, kind: str) -> list[str]:
        return sorted(name for found, name in self.code if found == kind)


def contents(session: Session, schema: str) -> Contents:
    tables = session.rows(_TABLES, [schema])
    code = session.rows(_CODE, [schema] * 4)
    return Contents(
        {_text(name): "sequence" if _text(kind) == "SEQUENCE" else "table" for name, kind in tables},
        frozenset((_text(kind), _text(name)) for kind, name in code),
    )


def clear(session: Session, schema: str) -> None:
    """Drop all that is in *schema*; its grants, its character set and the schema itself stay.

    So do routines that :func:`make.replaces`: dropping one revokes the grants on it.
    """
    found = contents(session, schema)
    for kind, name in sorted(found.code):
        if not replaces(session, kind):
            drop(session, schema, kind, name)
    session.execute("SET SESSION foreign_key_checks = 0")
    for name, kind in found.tables.items():
        session.execute(f"DROP {kind.upper()} {quoted(schema, name)}")
    session.execute("SET SESSION foreign_key_checks = 1")


def drop_code(session: Session, schema: str, but: Iterable[Item]) -> None:
    """Drop the views, triggers, routines and events of *schema* that are not among *but*."""
    staying = {(item.kind, item.name) for item in but}
    for kind, name in sorted(contents(session, schema).code - staying):
        drop(session, schema, kind, name)


def charset(session: Session, schema: str) -> str:
    """The character set and collation of *schema*, as SQL sets them."""
    query = "SELECT default_character_set_name, default_collation_name FROM information_schema.schemata "
    name, collation = session.rows(query + "WHERE schema_name = %s", [schema])[0]
    return f"CHARACTER SET {_text(name)} COLLATE {_text(collation)}"


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()
