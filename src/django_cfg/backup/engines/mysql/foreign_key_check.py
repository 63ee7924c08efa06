"""Orphaned rows: those whose foreign key refers to a missing row, as a session without foreign key checks may leave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from django_cfg.backup.engines.mysql.schema import ForeignKey, list_foreign_keys
from django_cfg.backup.engines.mysql.session import Row, Session, quote_name
from django_cfg.backup.errors import RestoreFailed

Orphans = dict[ForeignKey, Counter[Row]]  # the number of orphaned rows by the value of their foreign key


def select_keys(session: Session, tables: Collection[str]) -> list[ForeignKey]:
    """Return the foreign keys of *tables*, and those of other tables that refer to them."""
    return [key for key in list_foreign_keys(session) if any(_find_ends(session, key, tables))]


def describe_outer_keys(session: Session, tables: Collection[str]) -> list[str]:
    """Return the foreign keys between *tables* and others, for messages."""
    return [
        f"{_describe(session, key)} ({key.constraint})"
        for key in select_keys(session, tables)
        if not all(_find_ends(session, key, tables))
    ]


def count_orphans(session: Session, keys: Sequence[ForeignKey]) -> Orphans:
    """Count orphaned rows after all committed transactions.

    This waits for running transactions, and keeps others from changing the rows until our transaction ends.
    """
    return {
        key: Counter({tuple(values): number for *values, number in session.fetch_rows(_build_query(key))})
        for key in keys
    }


def refuse_new_orphans(session: Session, before: Orphans) -> None:
    """Raise RestoreFailed if there are more orphaned rows than *before*."""
    after = count_orphans(session, list(before))
    new = {key: (orphans - before[key]).total() for key, orphans in after.items()}
    if number := sum(new.values()):
        keys = ", ".join(sorted({_describe(session, key) for key, rows in new.items() if rows}))
        raise RestoreFailed(
            f"{number:,} rows would refer to rows that do not exist: {keys}. The database {session.alias!r} is as it "
            "was. Restore those tables too (--tables), or the complete backup."
        )


def _build_query(key: ForeignKey) -> str:
    """Return the query for orphaned rows; a row with a NULL in its foreign key refers to nothing."""
    values = [f"child.{quote_name(column)}" for column in key.columns]
    targets = [f"parent.{quote_name(column)}" for column in key.target_columns]
    pairs = " AND ".join(f"{target} = {value}" for target, value in zip(targets, values, strict=True))
    is_set = " AND ".join(f"{value} IS NOT NULL" for value in values)
    return (
        f"SELECT {', '.join(values)}, COUNT(*) FROM {quote_name(key.schema, key.table)} AS child "
        f"LEFT JOIN {quote_name(key.target_schema, key.target)} AS parent ON {pairs} "
        f"WHERE {is_set} AND {targets[0]} IS NULL GROUP BY {', '.join(values)} LOCK IN SHARE MODE"
    )


def _find_ends(session: Session, key: ForeignKey, tables: Collection[str]) -> tuple[bool, bool]:
    """Return whether the foreign key's own table is among *tables*, and whether the one it refers to is."""
    own = key.schema == session.database and key.table in tables
    return own, key.target_schema == session.database and key.target in tables


def _describe(session: Session, key: ForeignKey) -> str:
    ends = ((key.schema, key.table), (key.target_schema, key.target))
    child, parent = (table if schema == session.database else f"{schema}.{table}" for schema, table in ends)
    return f"{child} to {parent}"
