"""Rows that miss the partner their foreign key names, as a session that does not check foreign keys may leave them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from django_cfg.backup.engines.mysql.schema import ForeignKey, foreign_keys
from django_cfg.backup.engines.mysql.session import Row, Session, quoted
from django_cfg.backup.errors import RestoreFailed

Missing = dict[ForeignKey, Counter[Row]]  # how many rows of each value have no partner


def keys_of(session: Session, chosen: Collection[str]) -> list[ForeignKey]:
    """The foreign keys of the tables *chosen*, and those of all others to them."""
    return [key for key in foreign_keys(session) if any(_touches(session, key, chosen))]


def in_words(session: Session, chosen: Collection[str]) -> list[str]:
    """The foreign keys between the *chosen* tables and others."""
    return [
        f"{_names(session, key)} ({key.constraint})"
        for key in keys_of(session, chosen)
        if not all(_touches(session, key, chosen))
    ]


def missing(session: Session, keys: Sequence[ForeignKey]) -> Missing:
    """The rows without a partner, as all transactions that have come to their end left them.

    Those of a transaction under way are waited for; the rows looked at stay as they are until ours ends.
    """
    return {key: Counter({tuple(values): number for *values, number in session.rows(_query(key))}) for key in keys}


def require_partners(session: Session, before: Missing, alias: str) -> None:
    """
    :raises RestoreFailed: more rows miss their partner than *before*.
    """
    astray = {key: (after - before[key]).total() for key, after in missing(session, list(before)).items()}
    if number := sum(astray.values()):
        words = ", ".join(sorted({_names(session, key) for key, rows in astray.items() if rows}))
        raise RestoreFailed(
            f"{number:,} rows would refer to rows that are not there: {words}. The database {alias!r} is as it was. "
            "Restore those tables too (--tables), or the whole backup."
        )


def _query(key: ForeignKey) -> str:
    """A row with a NULL in the key refers to nothing."""
    values = [f"child.{quoted(column)}" for column in key.columns]
    partners = [f"parent.{quoted(column)}" for column in key.target_columns]
    pairs = " AND ".join(f"{partner} = {value}" for partner, value in zip(partners, values, strict=True))
    given = " AND ".join(f"{value} IS NOT NULL" for value in values)
    return (
        f"SELECT {', '.join(values)}, COUNT(*) FROM {quoted(key.schema, key.table)} AS child "
        f"LEFT JOIN {quoted(key.target_schema, key.target)} AS parent ON {pairs} "
        f"WHERE {given} AND {partners[0]} IS NULL GROUP BY {', '.join(values)} LOCK IN SHARE MODE"
    )


def _touches(session: Session, key: ForeignKey, chosen: Collection[str]) -> tuple[bool, bool]:
    """Whether its own table is among the *chosen*, and whether the one it names is."""
    own = key.schema == session.database and key.table in chosen
    return own, key.target_schema == session.database and key.target in chosen


def _names(session: Session, key: ForeignKey) -> str:
    ends = ((key.schema, key.table), (key.target_schema, key.target))
    child, parent = (table if schema == session.database else f"{schema}.{table}" for schema, table in ends)
    return f"{child} to {parent}"
