"""What a schema holds, listed so that it can be moved, dropped or created again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django_cfg.backup.engines.mysql.session import Session, quote_name
from django_cfg.backup.engines.mysql.stored_code.create import can_replace, drop_object
from django_cfg.backup.engines.mysql.stored_code.parser import StoredObject

_TABLES = """
SELECT table_name, IF(table_type = 'SEQUENCE', 'SEQUENCE', 'TABLE') FROM information_schema.tables
WHERE table_schema = %s AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED', 'SEQUENCE') ORDER BY 1
"""
_STORED_CODE = """
SELECT 'view', table_name FROM information_schema.views WHERE table_schema = %s
UNION ALL SELECT 'trigger', trigger_name FROM information_schema.triggers WHERE trigger_schema = %s
UNION ALL SELECT 'event', event_name FROM information_schema.events WHERE event_schema = %s
UNION ALL SELECT LOWER(routine_type), routine_name FROM information_schema.routines WHERE routine_schema = %s
"""


@dataclass(frozen=True)
class Contents:
    """The names in a schema."""

    tables: dict[str, str]  # tables and sequences, each with the keyword for DROP
    stored_code: frozenset[tuple[str, str]]  # kind, name

    def list_names(self, kind: str) -> list[str]:
        return sorted(name for found, name in self.stored_code if found == kind)


def list_contents(session: Session, schema: str) -> Contents:
    tables = session.fetch_text(_TABLES, [schema])
    stored_code = session.fetch_text(_STORED_CODE, [schema] * 4)
    return Contents(dict(tables), frozenset((kind, name) for kind, name in stored_code))


def drop_contents(session: Session, schema: str) -> None:
    """Drop everything in *schema*; the schema, its grants and its character set stay.

    Routines that the server can replace also stay: dropping a routine revokes the grants on it.
    """
    found = list_contents(session, schema)
    for kind, name in sorted(found.stored_code):
        if not can_replace(session, kind):
            drop_object(session, schema, kind, name)
    session.execute("SET SESSION foreign_key_checks = 0")
    for name, kind in found.tables.items():
        session.execute(f"DROP {kind} {quote_name(schema, name)}")
    session.execute("SET SESSION foreign_key_checks = 1")


def drop_other_objects(session: Session, schema: str, kept: Iterable[StoredObject]) -> None:
    """Drop the views, triggers, routines and events of *schema* that are not among *kept*."""
    names = {(item.kind, item.name) for item in kept}
    for kind, name in sorted(list_contents(session, schema).stored_code - names):
        drop_object(session, schema, kind, name)
