"""What is in a PostgreSQL database: its tables, their rows, its roles, its applied migrations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django_cfg.backup.engines.base import Selection, group_migrations
from django_cfg.backup.engines.table_comparison import matching
from django_cfg.backup.errors import DatabaseUnavailable, UsageError

# Tables that hold rows of the project, leaf partitions included: none of the system, an extension or a session.
USER_TABLES = """
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
  AND NOT EXISTS (SELECT FROM pg_depend d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
"""
_TABLES = f"SELECT n.nspname, c.relname {USER_TABLES} ORDER BY 1, 2"
_TABLE_SIZES = f"SELECT n.nspname, c.relname, pg_table_size(c.oid) {USER_TABLES}"
LARGE_TABLE = 32 << 20  # bytes on the server: smaller tables are dumped with the definitions
# A standby has only their definition: counting is refused there, and pg_dump leaves the rows out.
_UNLOGGED = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'u' AND pg_is_in_recovery()
"""
# Their rows are on another server; pg_dump leaves them out.
_FOREIGN = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'f' AND NOT EXISTS (
    SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2
"""
# Every partitioned table with each of its leaves, so that its name selects all of them.
_PARTITIONS = """
WITH RECURSIVE tree (root, child) AS (
    SELECT inhparent, inhrelid FROM pg_inherits JOIN pg_class p ON p.oid = inhparent AND p.relkind = 'p'
    UNION ALL
    SELECT tree.root, i.inhrelid FROM tree JOIN pg_inherits i ON i.inhparent = tree.child
)
SELECT rn.nspname, r.relname, cn.nspname, c.relname
FROM tree
JOIN pg_class r ON r.oid = tree.root JOIN pg_namespace rn ON rn.oid = r.relnamespace
JOIN pg_class c ON c.oid = tree.child JOIN pg_namespace cn ON cn.oid = c.relnamespace
WHERE c.relkind = 'r'
"""
_FOREIGN_KEYS = """
SELECT k.conname, n.nspname, c.relname, fn.nspname, f.relname, array(
    SELECT quote_ident(a.attname) FROM pg_attribute a WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey))
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
WHERE k.contype = 'f'
"""
# Owners and grantees of anything in this database, and the roles its row security policies name. No catalogue
# records what belongs to the role that initdb made, so the likely objects are searched.
_ROLES = """
SELECT r.rolname FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid
WHERE d.refclassid = 'pg_authid'::regclass AND r.rolname NOT LIKE 'pg\\_%'
  AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
UNION
SELECT rolname FROM pg_roles WHERE oid = 10 AND oid IN (
    SELECT relowner FROM pg_class WHERE oid >= 16384
    UNION ALL SELECT proowner FROM pg_proc WHERE oid >= 16384
    UNION ALL SELECT typowner FROM pg_type WHERE oid >= 16384
    UNION ALL SELECT nspowner FROM pg_namespace WHERE oid >= 16384 OR nspname = 'public'
    UNION ALL SELECT lomowner FROM pg_largeobject_metadata)
ORDER BY 1
"""
_TABLESPACES = """
SELECT DISTINCT spcname FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace
JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname NOT LIKE 'pg\\_%' ORDER BY 1
"""
_ACCESS_METHODS = """
SELECT DISTINCT amname FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE amtype = 't' AND a.oid >= 16384 ORDER BY 1
"""
# Schemas that hold parts of extensions, or belong to one: a restore in place cannot drop them.
EXTENSION_SCHEMAS = """
SELECT n.oid, n.nspname FROM pg_namespace n
WHERE n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
  AND (EXISTS (SELECT FROM pg_extension x WHERE x.extnamespace = n.oid)
       OR EXISTS (SELECT FROM pg_depend e LEFT JOIN pg_class c ON e.classid = 'pg_class'::regclass AND c.oid = e.objid
                  WHERE e.deptype = 'e' AND n.oid IN (c.relnamespace,
                      CASE WHEN e.classid = 'pg_namespace'::regclass THEN e.objid END)))
"""
# Roles and databases may set timeouts that are too short for a restore or dump. Not every version has all of them.
_NO_TIMEOUTS = """
SELECT set_config(name, '0', {is_local}) FROM pg_settings WHERE name IN (
    'statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout');
"""
NO_TIMEOUTS = _NO_TIMEOUTS.format(is_local="false")  # for the session
# An operator may freeze a site with default_transaction_read_only before a restore.
WRITABLE = f"{NO_TIMEOUTS}SET default_transaction_read_only = off;\n"  # for the sessions of a restore
NO_TIMEOUTS_LOCAL = _NO_TIMEOUTS.format(is_local="true")  # for the transaction that has begun


@dataclass(frozen=True, order=True)
class TableName:
    """A table's name in its schema."""

    schema: str
    table: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}"

    @property
    def quoted(self) -> str:
        """The name in SQL, which pg_dump's options take without finding a pattern in it."""
        return f"{quote_name(self.schema)}.{quote_name(self.table)}"


@dataclass(frozen=True)
class SelectedTables:
    """What a selection means for this database."""

    tables: tuple[TableName, ...]  # in the dump, with their rows unless emptied
    emptied: tuple[TableName, ...]
    included: tuple[TableName, ...]  # empty: everything
    unavailable: tuple[TableName, ...] = ()  # those of the emptied ones whose rows a standby does not have

    @property
    def filled(self) -> tuple[TableName, ...]:
        """Those in the dump with their rows."""
        emptied = set(self.emptied)
        return tuple(name for name in self.tables if name not in emptied)

    @property
    def warning(self) -> str:
        """A warning about rows that are left out without being configured so; empty if there are none."""
        if not self.unavailable:
            return ""
        return (
            f"this server is a standby, which does not have the rows of the unlogged tables "
            f"{', '.join(map(str, self.unavailable))}: the backup leaves them out. If they matter, back up from the "
            "primary (BackupDatabaseConfig.connection)."
        )


def quote_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def unquote_name(name: str) -> str:
    """Return *name*, and each part of it if it is qualified, without the quotes that PostgreSQL puts around it."""
    return re.sub(r'"((?:[^"]|"")*)"', lambda found: found[1].replace('""', '"'), name)


def quote_literal(text: str) -> str:
    """Return *text* as an SQL literal, where standard_conforming_strings is on."""
    return "'" + text.replace("'", "''") + "'"


def fetch_rows(connection: Any, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, values) if values else cursor.execute(query)
        return [tuple(row) for row in cursor.fetchall()]


def execute(connection: Any, *statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def list_tables(connection: Any) -> list[TableName]:
    return [TableName(*row) for row in fetch_rows(connection, _TABLES)]


def select_tables(connection: Any, selection: Selection, alias: str) -> SelectedTables:
    """Return what *selection* means; its patterns match ``table`` or ``schema.table``.

    :raises UsageError: a pattern matches nothing, or rows that stay refer to a table that is emptied or left out.
    """
    found = list_tables(connection)
    if not found:
        raise DatabaseUnavailable(
            f"The database {alias!r} has no table: an empty database is not backed up. "
            "Check NAME in DATABASES, or run migrate first."
        )
    emptied = match_tables(connection, found, selection.exclude, "exclude_tables", alias)
    included = match_tables(connection, found, selection.include, "include_tables", alias)
    kept = included or tuple(found)
    unlogged = [TableName(*row) for row in fetch_rows(connection, _UNLOGGED)]
    unavailable = tuple(name for name in unlogged if name in kept and name not in emptied)
    emptied += unavailable
    _refuse_emptied_parents(connection, set(kept) - set(emptied), set(emptied), alias)
    if included:
        partitions = _list_partitions(connection)
        included += tuple(parent for parent, parts in partitions.items() if set(parts) & set(included))
        _refuse_missing_parents(connection, set(included), alias)
    return SelectedTables(kept, tuple(name for name in emptied if name in kept), included, unavailable)


def group_large_tables(connection: Any, names: Sequence[TableName], jobs: int) -> list[list[TableName]]:
    """Return groups of large tables, one for each of at most *jobs* workers but the first.

    The first one dumps the rest. All have about as many bytes to dump, as far as single tables allow.
    """
    if jobs < 2:
        return []
    sizes = {TableName(*row[:2]): row[2] for row in fetch_rows(connection, _TABLE_SIZES)}
    large = sorted((name for name in names if sizes.get(name, 0) >= LARGE_TABLE), key=lambda name: -sizes[name])
    groups: list[list[TableName]] = [[] for _ in range(jobs)]
    filled = [0] * jobs
    filled[0] = sum(sizes.get(name, 0) for name in names) - sum(sizes[name] for name in large)
    for name in large:
        smallest = filled.index(min(filled))
        groups[smallest].append(name)
        filled[smallest] += sizes[name]
    return [group for group in groups[1:] if group]


def match_tables(
    connection: Any, found: Sequence[TableName], patterns: Sequence[str], parameter: str, alias: str
) -> tuple[TableName, ...]:
    """Return those of *found* that *patterns* of ``table`` or ``schema.table`` match, or whose partitioned table does.

    :raises UsageError: a pattern matches nothing.
    """
    partitions = _list_partitions(connection)
    spellings: dict[str, list[TableName]] = {}
    for name in (*found, *partitions):
        spellings.setdefault(name.table, []).append(name)
        spellings.setdefault(str(name), []).append(name)
    matched = {name for spelling in matching(spellings, patterns, parameter, alias) for name in spellings[spelling]}
    parts = {part for name in matched for part in partitions.get(name, ())}
    return tuple(name for name in found if name in matched or name in parts)


def _list_partitions(connection: Any) -> dict[TableName, list[TableName]]:
    partitions: dict[TableName, list[TableName]] = {}
    for schema, table, leaf_schema, leaf in fetch_rows(connection, _PARTITIONS):
        partitions.setdefault(TableName(schema, table), []).append(TableName(leaf_schema, leaf))
    return partitions


def _refuse_emptied_parents(connection: Any, filled: set[TableName], emptied: set[TableName], alias: str) -> None:
    for constraint, *names, columns in fetch_rows(connection, _FOREIGN_KEYS):
        child, parent = TableName(*names[:2]), TableName(*names[2:])
        if parent not in emptied or child not in filled:
            continue
        is_set = " AND ".join(f"{column} IS NOT NULL" for column in columns)
        if fetch_rows(connection, f"SELECT EXISTS (SELECT FROM {child.quoted} WHERE {is_set})")[0][0]:
            raise UsageError(
                f"exclude_tables of the database {alias!r} leaves out the rows of {parent}, but rows of {child} refer "
                f"to them by the constraint {constraint}: restoring would fail there. Exclude {child} too, or "
                f"keep {parent}."
            )


def _refuse_missing_parents(connection: Any, included: set[TableName], alias: str) -> None:
    for constraint, *names, _ in fetch_rows(connection, _FOREIGN_KEYS):
        child, parent = TableName(*names[:2]), TableName(*names[2:])
        if child in included and parent not in included:
            raise UsageError(
                f"include_tables of the database {alias!r} names {child} and not {parent}, to which it refers by the "
                f"constraint {constraint}: restoring would fail there. Include {parent} too."
            )


def count_rows(connection: Any, names: Iterable[TableName]) -> dict[str, int]:
    """Return the exact number of rows of each table, in the connection's snapshot."""
    return {str(name): fetch_rows(connection, f"SELECT count(*) FROM ONLY {name.quoted}")[0][0] for name in names}


def fetch_migrations(connection: Any) -> dict[str, tuple[str, ...]]:
    """Return the applied migrations of each app; nothing where Django keeps no record, or this role cannot read it.

    The role may be unable to read it when only some tables are backed up: those are checked by
    `permissions.require_readable`.
    """
    if not fetch_rows(connection, "SELECT has_table_privilege(to_regclass('django_migrations'), 'SELECT')")[0][0]:
        return {}
    return group_migrations(fetch_rows(connection, "SELECT app, name FROM django_migrations ORDER BY id"))


def list_foreign_tables(connection: Any) -> list[str]:
    return [str(TableName(*row)) for row in fetch_rows(connection, _FOREIGN)]


def list_roles(connection: Any) -> list[str]:
    return [name for (name,) in fetch_rows(connection, _ROLES)]


def list_tablespaces(connection: Any) -> list[str]:
    """Return the tablespaces that objects of the connected database name."""
    return [name for (name,) in fetch_rows(connection, _TABLESPACES)]


def list_access_methods(connection: Any) -> list[str]:
    """Return the access methods of the tables of the connected database, but for PostgreSQL's own."""
    return [name for (name,) in fetch_rows(connection, _ACCESS_METHODS)]


def list_extension_schemas(connection: Any) -> list[str]:
    return [name for _, name in fetch_rows(connection, EXTENSION_SCHEMAS) if name != "public"]


def list_missing_roles(connection: Any, needed: Iterable[str]) -> list[str]:
    """Return those of *needed* that the server does not have."""
    known = {name for (name,) in fetch_rows(connection, "SELECT rolname FROM pg_roles")}
    return [name for name in needed if name not in known]


def get_server_version(connection: Any) -> str:
    """Return the version as "15.18"."""
    version: str = fetch_rows(connection, "SHOW server_version")[0][0]
    return version.split()[0]


def get_database_size(connection: Any) -> int:
    """Return the bytes of the database on the server's disk."""
    size: int = fetch_rows(connection, "SELECT pg_database_size(current_database())")[0][0]
    return size
