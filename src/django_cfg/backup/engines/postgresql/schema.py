"""What is in a PostgreSQL database: its tables, their rows, its roles, its applied migrations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django_cfg.backup.engines.base import Selection
from django_cfg.backup.engines.table_comparison import matching
from django_cfg.backup.errors import DatabaseUnavailable, UsageError

# Tables that hold rows of the project: leaf partitions each; nothing of the system, of an extension
# or of a session.
_TABLES = """
SELECT n.nspname, c.relname, has_table_privilege(c.oid, 'SELECT')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
  AND NOT EXISTS (SELECT FROM pg_depend d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2
"""
# A standby has their definition alone: counting is refused there, and pg_dump leaves the rows out.
_ABSENT = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'u' AND pg_is_in_recovery()
"""
# Every partitioned table beside each of its leaves, so that naming the whole names its parts.
_LEAVES = """
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
# Owners and grantees of anything in this database, and the roles its row security policies name. What
# belongs to the role that initdb made is noted nowhere, so it is looked for among the likely things.
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
# Schemas that hold parts of extensions, or belong to one: a restore in place cannot drop them.
EXTENSION_SCHEMAS = """
SELECT n.oid, n.nspname FROM pg_namespace n
WHERE n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
  AND (EXISTS (SELECT FROM pg_extension x WHERE x.extnamespace = n.oid)
       OR EXISTS (SELECT FROM pg_depend e LEFT JOIN pg_class c ON e.classid = 'pg_class'::regclass AND c.oid = e.objid
                  WHERE e.deptype = 'e' AND n.oid IN (c.relnamespace,
                      CASE WHEN e.classid = 'pg_namespace'::regclass THEN e.objid END)))
"""


# Roles and databases may set timeouts that a long restore or dump outlives. Not every version knows all of them.
_NO_TIMEOUTS = """
SELECT set_config(name, '0', {of_transaction}) FROM pg_settings WHERE name IN (
    'statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout');
"""
NO_TIMEOUTS = _NO_TIMEOUTS.format(of_transaction="false")  # for the session, which is ours alone
NO_TIMEOUTS_NOW = _NO_TIMEOUTS.format(of_transaction="true")  # for the transaction that has begun


@dataclass(frozen=True, order=True)
class Name:
    """A table's name in its schema."""

    schema: str
    table: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}"

    @property
    def quoted(self) -> str:
        """As SQL writes it, and as pg_dump's options take it without seeing a pattern in it."""
        return f"{quoted(self.schema)}.{quoted(self.table)}"


@dataclass(frozen=True)
class Cut:
    """What a selection means for this database."""

    tables: tuple[Name, ...]  # in the dump, their rows too unless emptied
    emptied: tuple[Name, ...]
    included: tuple[Name, ...]  # empty: everything
    absent: tuple[Name, ...] = ()  # of those emptied, what a standby does not have

    @property
    def warning(self) -> str:
        """What the operator should know of rows that nobody has asked to leave out; empty when there are none."""
        if not self.absent:
            return ""
        return (
            f"this server is a standby, which does not have the rows of the unlogged tables "
            f"{', '.join(map(str, self.absent))}: the backup leaves them out. If they matter, back up from the primary "
            "(BackupDatabaseConfig.connection)."
        )


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """*text* as SQL writes it, where standard_conforming_strings is on."""
    return "'" + text.replace("'", "''") + "'"


def rows(connection: Any, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, values) if values else cursor.execute(query)
        return [tuple(row) for row in cursor.fetchall()]


def execute(connection: Any, *statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def tables(connection: Any) -> list[Name]:
    return [Name(schema, table) for schema, table, _ in rows(connection, _TABLES)]


def require_readable(connection: Any, cut: Cut, alias: str) -> None:
    """
    :raises DatabaseUnavailable: rows that the dump needs may not be read; every such table is named.
    """
    needed = set(cut.tables)
    hidden = [
        str(name)
        for schema, table, readable in rows(connection, _TABLES)
        if not readable and (name := Name(schema, table)) in needed
    ]
    if hidden:
        (user,) = rows(connection, "SELECT current_user")[0]
        raise DatabaseUnavailable(
            f"The role {user!r} may not read {', '.join(hidden[:20])} of the database {alias!r}, so no backup of it "
            f"would be whole: GRANT pg_read_all_data TO {quoted(user)} (PostgreSQL 14 and newer; "
            "docs/postgresql.md tells what serves older ones)."
        )


def cut(connection: Any, selection: Selection, alias: str) -> Cut:
    """What *selection* means; names are patterns of ``table`` or ``schema.table``.

    :raises UsageError: a pattern matches nothing, or a table that stays needs one that is emptied.
    """
    found = tables(connection)
    if not found:
        raise DatabaseUnavailable(
            f"The database {alias!r} has no table: an empty database is not backed up. "
            "Check NAME in DATABASES, or run migrate first."
        )
    leaves = _leaves(connection)
    emptied = chosen(connection, found, selection.exclude, "exclude_tables", alias)
    included = chosen(connection, found, selection.include, "include_tables", alias)
    kept = tuple(name for name in included or found)
    absent = tuple(name for row in rows(connection, _ABSENT) if (name := Name(*row)) in set(kept) - set(emptied))
    emptied += absent
    _refuse_dangling(connection, [name for name in kept if name not in emptied], set(emptied), alias)
    wholes = tuple(whole for whole, parts in leaves.items() if set(parts) & set(included))
    if included:
        _refuse_missing(connection, {*included, *wholes}, alias)
    emptied = tuple(name for name in emptied if name in kept)
    return Cut(kept, emptied, (*included, *wholes) if included else (), absent)


def _leaves(connection: Any) -> dict[Name, list[Name]]:
    leaves: dict[Name, list[Name]] = {}
    for schema, table, leaf_schema, leaf in rows(connection, _LEAVES):
        leaves.setdefault(Name(schema, table), []).append(Name(leaf_schema, leaf))
    return leaves


def chosen(
    connection: Any, found: Sequence[Name], patterns: Sequence[str], parameter: str, alias: str
) -> tuple[Name, ...]:
    """Those of *found* that *patterns* of ``table`` or ``schema.table`` mean; a partitioned table means its parts.

    :raises UsageError: a pattern matches nothing.
    """
    leaves = _leaves(connection)
    spellings: dict[str, list[Name]] = {}
    for name in (*found, *leaves):
        spellings.setdefault(name.table, []).append(name)
        spellings.setdefault(str(name), []).append(name)
    matched = {name for spelling in matching(spellings, patterns, parameter, alias) for name in spellings[spelling]}
    parts = {part for name in matched for part in leaves.get(name, ())}
    return tuple(name for name in found if name in matched or name in parts)


def _refuse_dangling(connection: Any, kept: Sequence[Name], emptied: set[Name], alias: str) -> None:
    staying = set(kept)
    for constraint, schema, table, target_schema, target, columns in rows(connection, _FOREIGN_KEYS):
        child, parent = Name(schema, table), Name(target_schema, target)
        if parent not in emptied or child not in staying:
            continue
        set_ = " AND ".join(f"{column} IS NOT NULL" for column in columns)
        if rows(connection, f"SELECT EXISTS (SELECT FROM {child.quoted} WHERE {set_})")[0][0]:
            raise UsageError(
                f"exclude_tables of the database {alias!r} leaves out the rows of {parent}, but rows of {child} refer "
                f"to them by the constraint {constraint}: restoring would fail there. Exclude {child} too, or "
                f"keep {parent}."
            )


def _refuse_missing(connection: Any, included: set[Name], alias: str) -> None:
    for constraint, schema, table, target_schema, target, _ in rows(connection, _FOREIGN_KEYS):
        child, parent = Name(schema, table), Name(target_schema, target)
        if child in included and parent not in included:
            raise UsageError(
                f"include_tables of the database {alias!r} names {child} and not {parent}, to which it refers by the "
                f"constraint {constraint}: restoring would fail there. Include {parent} too."
            )


def count_rows(connection: Any, names: Iterable[Name]) -> dict[str, int]:
    """The exact rows of each table, by the connection's snapshot."""
    return {str(name): rows(connection, f"SELECT count(*) FROM ONLY {name.quoted}")[0][0] for name in names}


def last_migrations(connection: Any) -> dict[str, str]:
    """The last migration applied of each app; empty where Django keeps no record, or keeps it from this role.

    That happens to a backup of some tables: all that are backed up may be read, see :func:`require_readable`.
    """
    if not rows(connection, "SELECT has_table_privilege(to_regclass('django_migrations'), 'SELECT')")[0][0]:
        return {}
    return dict(rows(connection, "SELECT app, name FROM django_migrations ORDER BY id"))


def roles(connection: Any) -> list[str]:
    return [name for (name,) in rows(connection, _ROLES)]


def extension_schemas(connection: Any) -> list[str]:
    return [name for _, name in rows(connection, EXTENSION_SCHEMAS) if name != "public"]


def missing_roles(connection: Any, needed: Iterable[str]) -> list[str]:
    """Those of *needed* that the server does not have."""
    known = {name for (name,) in rows(connection, "SELECT rolname FROM pg_roles")}
    return [name for name in needed if name not in known]


def server_version(connection: Any) -> str:
    """As "15.18"."""
    version: str = rows(connection, "SHOW server_version")[0][0]
    return version.split()[0]


def size(connection: Any) -> int:
    """Bytes of the database on the server's disk."""
    number: int = rows(connection, "SELECT pg_database_size(current_database())")[0][0]
    return number
