"""The columns of a table in a backup, and in the database that is to take its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django_cfg.backup.engines.mysql.session import Session
from django_cfg.backup.errors import RestoreFailed

_COLUMNS = """
SELECT column_name, column_type, data_type, COALESCE(datetime_precision, 0), COALESCE(generation_expression, '') = ''
FROM information_schema.columns WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position
"""
# Between types of one line the server, in strict mode, refuses or tells of a value that would not stay the same.
# Between all others, and from one length or precision of a type that is not here to another, it may say nothing.
_FAMILIES = (
    {"tinyint", "smallint", "mediumint", "int", "bigint"},
    {"char", "varchar", "tinytext", "text", "mediumtext", "longtext"},
    {"varbinary", "tinyblob", "blob", "mediumblob", "longblob"},
    {"date", "datetime"},
    *({kind} for kind in ("timestamp", "time", "decimal", "bit", "enum", "set")),
)


@dataclass(frozen=True)
class Column:
    name: str
    type: str  # as "varchar(100)"
    kind: str  # as "varchar"
    precision: int  # of the fractions of seconds
    stored: bool  # false: generated from others

    def holds(self, other: Column) -> bool:
        """Whether values of *other* are the same here, or refused."""
        if self.type == other.type:
            return True
        related = any({self.kind, other.kind} <= family for family in _FAMILIES)
        cuts_blanks = self.kind == "char" != other.kind
        return related and not cuts_blanks and self.precision >= other.precision


def shared(session: Session, table: str, new: str) -> list[str]:
    """The columns of *table* of the database that take the values of the schema *new*; generated ones make themselves.

    :raises RestoreFailed: the backup has others, or the database would not hold their values as they are.
    """
    coming, here = _columns(session, new, table), _columns(session, session.database, table)
    lost = [name for name, column in coming.items() if column.stored and not (name in here and here[name].stored)]
    if lost:
        raise _refused(table, f"{', '.join(lost)}, which the database has not any more")
    taken = [name for name, column in here.items() if column.stored and name in coming]
    changed = [f"{n} ({coming[n].type}, here {here[n].type})" for n in taken if not here[n].holds(coming[n])]
    if changed:
        raise _refused(table, f"{', '.join(changed)}, whose values might not stay the same")
    return taken


def _columns(session: Session, schema: str, table: str) -> Mapping[str, Column]:
    found = session.rows(_COLUMNS, [schema, table])
    columns = (
        Column(_text(name), _text(type_), _text(kind), int(precision), stored=bool(stored))
        for name, type_, kind, precision, stored in found
    )
    return {column.name: column for column in columns}


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()


def _refused(table: str, columns: str) -> RestoreFailed:
    return RestoreFailed(
        f"The table {table} of the backup has the columns {columns}. Nothing was changed. Restore the whole backup, "
        "into another database (--to) if need be."
    )
