"""The tables of a database: their engines, foreign keys and rows, and which of them a selection means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django_cfg.backup.engines.base import Selection, group_migrations
from django_cfg.backup.engines.mysql.session import Session, quote_name
from django_cfg.backup.engines.table_comparison import matching
from django_cfg.backup.errors import DatabaseUnavailable, UsageError

# Tables with rows of the project; no views, no sequences.
_TABLES = """
SELECT table_name, COALESCE(engine, ''), table_type = 'SYSTEM VERSIONED' FROM information_schema.tables
WHERE table_schema = %s AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')
"""
_FOREIGN_KEYS = """
SELECT constraint_name, table_schema, table_name, referenced_table_schema, referenced_table_name,
    column_name, referenced_column_name
FROM information_schema.key_column_usage
WHERE (table_schema = %s OR referenced_table_schema = %s) AND referenced_table_name IS NOT NULL
ORDER BY table_schema, table_name, constraint_name, ordinal_position
"""
# System-versioned tables whose history is kept by the numbers of transactions, not by time.
_TRANSACTION_PRECISE = """
SELECT DISTINCT table_name FROM information_schema.columns
WHERE table_schema = %s AND generation_expression = 'ROW START' AND data_type = 'bigint'
"""
_FLOATS = """
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = %s AND data_type = 'float' AND numeric_scale IS NULL AND COALESCE(generation_expression, '') = ''
ORDER BY table_name, ordinal_position
"""
_WITHOUT_OWN_ROWS = {"mrg_myisam", "federated"}  # mariadb-dump and mysqldump write only their definitions
_TRANSACTIONAL = {"innodb", "rocksdb", "tokudb", "ndbcluster", "sequence"}


@dataclass(frozen=True)
class TableInfo:
    name: str
    engine: str
    is_versioned: bool  # the server keeps the history of its rows
    is_transaction_precise: bool = False  # by the numbers of transactions, which cannot be dumped
    floats: tuple[str, ...] = ()  # columns of which the server itself prints only the first digits

    @property
    def has_own_rows(self) -> bool:
        """False for a table that shows rows of other tables, here or on another server."""
        return self.engine.lower() not in _WITHOUT_OWN_ROWS

    @property
    def is_transactional(self) -> bool:
        """Whether a snapshot covers the table."""
        return self.engine.lower() in _TRANSACTIONAL


@dataclass(frozen=True)
class ForeignKey:
    constraint: str
    schema: str
    table: str
    target_schema: str
    target: str
    columns: tuple[str, ...]
    target_columns: tuple[str, ...]  # in the order of the columns that refer to them


@dataclass(frozen=True)
class SelectedTables:
    """What a selection means for a database."""

    tables: tuple[TableInfo, ...]  # in the dump
    excluded: tuple[str, ...]  # of these, the tables whose rows are left out
    included: tuple[str, ...]  # empty: all tables, and everything that is not a table

    @property
    def filled(self) -> tuple[TableInfo, ...]:
        """The tables whose rows are in the dump."""
        return tuple(table for table in self.tables if table.has_own_rows and table.name not in self.excluded)

    @property
    def versioned(self) -> list[str]:
        return [table.name for table in self.filled if table.is_versioned]

    @property
    def transaction_precise(self) -> list[str]:
        return [table.name for table in self.tables if table.is_transaction_precise]

    @property
    def rounded(self) -> str:
        """The columns whose values a dump does not hold exactly, for messages."""
        return ", ".join(f"{table.name}.{column}" for table in self.filled for column in table.floats)

    @property
    def without_own_rows(self) -> str:
        """The tables that show rows of others, for messages."""
        return ", ".join(f"{table.name} ({table.engine})" for table in self.tables if not table.has_own_rows)

    @property
    def without_snapshot(self) -> str:
        """The tables that no snapshot covers, for messages."""
        return ", ".join(f"{table.name} ({table.engine})" for table in self.filled if not table.is_transactional)


def list_tables(session: Session, schema: str = "") -> list[TableInfo]:
    rows = session.fetch_text(_TABLES, [schema or session.database])
    precise: set[str] = set()
    if any(versioned for _, _, versioned in rows):
        precise = {name for (name,) in session.fetch_text(_TRANSACTION_PRECISE, [schema or session.database])}
    floats: dict[str, list[str]] = {}
    for table, column in session.fetch_text(_FLOATS, [schema or session.database]):
        floats.setdefault(table, []).append(column)
    tables = (
        TableInfo(name, engine, bool(versioned), name in precise, tuple(floats.get(name, ())))
        for name, engine, versioned in rows
    )
    return sorted(tables, key=lambda table: table.name)


def list_foreign_keys(session: Session) -> list[ForeignKey]:
    """Return the foreign keys of the database, and those of other schemas that refer to it."""
    columns: dict[tuple[str, str, str, str, str], list[tuple[str, str]]] = {}
    for constraint, schema, table, target_schema, target, *pair in session.fetch_text(
        _FOREIGN_KEYS, [session.database] * 2
    ):
        columns.setdefault((constraint, schema, table, target_schema, target), []).append((pair[0], pair[1]))
    return [ForeignKey(*key, *(tuple(side) for side in zip(*pairs, strict=True))) for key, pairs in columns.items()]


def select_tables(session: Session, selection: Selection) -> SelectedTables:
    """Return what *selection* means for the database.

    :raises DatabaseUnavailable: the database has no table.
    :raises UsageError: a pattern matches nothing, or a table in the dump needs one that is left out.
    """
    found = list_tables(session)
    if not found:
        raise DatabaseUnavailable(
            f"The database {session.alias!r} has no table that this user may see: an empty database is not backed up. "
            "Check NAME and USER in DATABASES, or run migrate first."
        )
    names = [table.name for table in found]
    excluded = matching(names, selection.exclude, "exclude_tables", session.alias)
    included = matching(names, selection.include, "include_tables", session.alias)
    tables = tuple(table for table in found if table.name in (included or names))
    selected = SelectedTables(tables, tuple(name for name in excluded if name in (included or names)), included)
    _refuse_dangling_keys(session, selected)
    return selected


def _refuse_dangling_keys(session: Session, selected: SelectedTables) -> None:
    """Refuse rows without the rows that they refer to: loading does not check foreign keys."""
    alias, kept = session.alias, {table.name for table in selected.tables}
    for key in list_foreign_keys(session):
        if key.schema != session.database or key.target_schema != session.database or key.table not in kept:
            continue
        if key.target not in kept:
            raise UsageError(
                f"include_tables of the database {alias!r} names {key.table} and not {key.target}, to which it refers "
                f"by the constraint {key.constraint}: its rows would refer to nothing. Include {key.target} too."
            )
        if key.target in selected.excluded and key.table not in selected.excluded and _is_used(session, key):
            raise UsageError(
                f"exclude_tables of the database {alias!r} leaves out the rows of {key.target}, but rows of "
                f"{key.table} refer to them by the constraint {key.constraint}: they would refer to nothing. Exclude "
                f"{key.table} too, or keep {key.target}."
            )


def _is_used(session: Session, key: ForeignKey) -> bool:
    is_set = " AND ".join(f"{quote_name(column)} IS NOT NULL" for column in key.columns)
    table = quote_name(session.database, key.table)
    return bool(session.fetch_rows(f"SELECT 1 FROM {table} WHERE {is_set} LIMIT 1"))


def count_rows(session: Session, table: TableInfo, schema: str = "", *, history: bool = False) -> int:
    """Count the rows of *table* in the session's snapshot.

    :param history: also count the rows of the past of a system-versioned table.
    """
    if not table.has_own_rows:
        return 0
    past = " FOR SYSTEM_TIME ALL" if history and table.is_versioned else ""
    name = quote_name(schema or session.database, table.name)
    number: int = session.fetch_value(f"SELECT COUNT(*) FROM {name}{past}")
    return number


def count_all_rows(session: Session, schema: str) -> dict[str, int]:
    """Count the rows of every table of *schema*, including those of the past."""
    return {table.name: count_rows(session, table, schema, history=True) for table in list_tables(session, schema)}


def read_migrations(session: Session, tables: Iterable[str], schema: str = "") -> Mapping[str, tuple[str, ...]]:
    """Return the applied migrations of each app; nothing if Django keeps no record among *tables*."""
    if "django_migrations" not in tables:
        return {}
    query = f"SELECT app, name FROM {quote_name(schema or session.database, 'django_migrations')} ORDER BY id"
    return group_migrations((str(app), str(name)) for app, name in session.fetch_rows(query))


def estimate_dump_size(session: Session) -> int:
    """Return an upper estimate in bytes: rows take more room as SQL than in the server's pages."""
    return 2 * _sum_sizes(session, session.database, "data_length") + (1 << 20)


def get_schema_size(session: Session, schema: str) -> int:
    """Return the bytes of rows and indexes, by the server's own estimate."""
    return _sum_sizes(session, schema, "data_length + index_length")


def _sum_sizes(session: Session, schema: str, size: str) -> int:
    query = f"SELECT COALESCE(SUM({size}), 0) FROM information_schema.tables WHERE table_schema = %s"
    tables = list_tables(session, schema)
    if all(table.has_own_rows for table in tables):
        return int(session.fetch_value(query, [schema]))
    own = [table.name for table in tables if table.has_own_rows]  # for the others it would ask another server
    return sum(int(session.fetch_value(f"{query} AND table_name = %s", [schema, name])) for name in own)


def get_charset(session: Session, schema: str) -> str:
    """Return the default character set and collation of *schema*, as SQL sets them."""
    charset, collation = read_charset(session, schema)
    return f"CHARACTER SET {charset} COLLATE {collation}"


def read_charset(session: Session, schema: str) -> tuple[str, str]:
    """Return the names of the default character set and collation of *schema*."""
    query = "SELECT default_character_set_name, default_collation_name FROM information_schema.schemata "
    charset, collation = session.fetch_text(query + "WHERE schema_name = %s", [schema])[0]
    return charset, collation
