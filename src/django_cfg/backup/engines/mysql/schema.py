"""What is in a MySQL or MariaDB database: its tables, their rows, its foreign keys, its applied migrations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django_cfg.backup.engines.base import Selection
from django_cfg.backup.engines.mysql.session import Session, quoted
from django_cfg.backup.engines.table_comparison import matching
from django_cfg.backup.errors import DatabaseUnavailable, UsageError

# Tables with rows of the project; no views, no sequences.
_TABLES = """
SELECT table_name, engine, table_type FROM information_schema.tables
WHERE table_schema = %s AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')
"""
_FOREIGN_KEYS = """
SELECT constraint_name, table_schema, table_name, referenced_table_schema, referenced_table_name,
    column_name, referenced_column_name
FROM information_schema.key_column_usage
WHERE (table_schema = %s OR referenced_table_schema = %s) AND referenced_table_name IS NOT NULL
ORDER BY table_schema, table_name, constraint_name, ordinal_position
"""
_TRANSACTIONAL = {"innodb", "rocksdb", "tokudb", "ndbcluster", "sequence"}


@dataclass(frozen=True)
class Found:
    """A table as the server describes it."""

    name: str
    engine: str
    versioned: bool  # keeps the history of its rows

    @property
    def transactional(self) -> bool:
        """Whether a snapshot covers it."""
        return self.engine.lower() in _TRANSACTIONAL


@dataclass(frozen=True)
class ForeignKey:
    constraint: str
    schema: str
    table: str
    target_schema: str
    target: str
    columns: tuple[str, ...]
    target_columns: tuple[str, ...]  # each the partner of the one at its place


@dataclass(frozen=True)
class Cut:
    """What a selection means for this database."""

    tables: tuple[Found, ...]  # in the dump, their rows too unless emptied
    emptied: tuple[str, ...]
    included: tuple[str, ...]  # empty: everything

    @property
    def filled(self) -> tuple[Found, ...]:
        return tuple(table for table in self.tables if table.name not in self.emptied)


def tables(session: Session, schema: str = "") -> list[Found]:
    found = session.rows(_TABLES, [schema or session.database])
    return sorted(
        (Found(_text(name), engine or "", kind == "SYSTEM VERSIONED") for name, engine, kind in found),
        key=lambda table: table.name,
    )


def _text(name: str | bytes) -> str:
    return name if isinstance(name, str) else name.decode()


def foreign_keys(session: Session) -> list[ForeignKey]:
    """Those of the database, and those of others into it."""
    columns: dict[tuple[str, str, str, str, str], list[tuple[str, str]]] = {}
    for row in session.rows(_FOREIGN_KEYS, [session.database] * 2):
        constraint, schema, table, target_schema, target, *pair = map(_text, row)
        columns.setdefault((constraint, schema, table, target_schema, target), []).append((pair[0], pair[1]))
    return [ForeignKey(*key, *(tuple(side) for side in zip(*pairs, strict=True))) for key, pairs in columns.items()]


def cut(session: Session, selection: Selection, alias: str) -> Cut:
    """What *selection* means.

    :raises UsageError: a pattern matches nothing, or a table that stays needs one that is left out.
    """
    found = tables(session)
    if not found:
        raise DatabaseUnavailable(
            f"The database {alias!r} has no table that this user may see: an empty database is not backed up. "
            "Check NAME and USER in DATABASES, or run migrate first."
        )
    names = [table.name for table in found]
    emptied = matching(names, selection.exclude, "exclude_tables", alias)
    included = matching(names, selection.include, "include_tables", alias)
    kept = [table for table in found if table.name in (included or names)]
    chosen = Cut(tuple(kept), tuple(name for name in emptied if not included or name in included), included)
    _refuse_dangling(session, chosen, alias)
    return chosen


def _refuse_dangling(session: Session, chosen: Cut, alias: str) -> None:
    """A foreign key whose rows stay and whose target is left out: loading does not check it, the site would meet it."""
    kept, filled = {table.name for table in chosen.tables}, {table.name for table in chosen.filled}
    for key in foreign_keys(session):
        if key.schema != session.database or key.target_schema != session.database or key.table not in kept:
            continue
        if key.target not in kept:
            raise UsageError(
                f"include_tables of the database {alias!r} names {key.table} and not {key.target}, to which it refers "
                f"by the constraint {key.constraint}: its rows would refer to nothing. Include {key.target} too."
            )
        if key.target in chosen.emptied and key.table in filled and _is_used(session, key):
            raise UsageError(
                f"exclude_tables of the database {alias!r} leaves out the rows of {key.target}, but rows of "
                f"{key.table} refer to them by the constraint {key.constraint}: they would refer to nothing. Exclude "
                f"{key.table} too, or keep {key.target}."
            )


def _is_used(session: Session, key: ForeignKey) -> bool:
    set_ = " AND ".join(f"{quoted(column)} IS NOT NULL" for column in key.columns)
    return bool(session.rows(f"SELECT 1 FROM {quoted(session.database, key.table)} WHERE {set_} LIMIT 1"))


def count(session: Session, table: Found, schema: str = "", *, history: bool = False) -> int:
    """The rows of *table* as the session sees them; with *history*, those it once had too."""
    past = " FOR SYSTEM_TIME ALL" if history and table.versioned else ""
    number: int = session.value(f"SELECT COUNT(*) FROM {quoted(schema or session.database, table.name)}{past}")
    return number


def last_migrations(session: Session, among: Iterable[Found]) -> Mapping[str, str]:
    """The last migration applied of each app; empty where Django keeps no record."""
    if "django_migrations" not in {table.name for table in among}:
        return {}
    where = quoted(session.database, "django_migrations")
    return dict(session.rows(f"SELECT app, name FROM {where} ORDER BY id"))


def size(session: Session) -> int:
    """Bytes of a dump, a guess from above: rows take more room as text than the server tells of its pages."""
    query = "SELECT COALESCE(SUM(data_length), 0) FROM information_schema.tables WHERE table_schema = %s"
    return 2 * int(session.value(query, [session.database])) + (1 << 20)
