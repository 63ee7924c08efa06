"""May this role read all that a dump reads, and has the server room for its locks? Asked before pg_dump is started."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django_cfg.backup.engines.postgresql.schema import SelectedTables, TableName, fetch_rows, quote_name
from django_cfg.backup.errors import DatabaseUnavailable
from django_cfg.backup.formatting import counted

_MAX_NAMES = 20  # in a message

# pg_dump locks tables and partitioned tables, for which it needs SELECT. What belongs to an extension is not dumped.
_RELATIONS = """
SELECT n.nspname, c.relname, c.relkind, has_schema_privilege(n.oid, 'USAGE'),
    CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT')
                   ELSE has_table_privilege(c.oid, 'SELECT') END,
    row_security_active(c.oid),
    (SELECT o.refobjid::bigint FROM pg_depend o
     WHERE o.classid = 'pg_class'::regclass AND o.objid = c.oid AND o.refclassid = 'pg_class'::regclass
       AND o.deptype IN ('a', 'i') AND c.relkind = 'S' LIMIT 1), c.oid::bigint
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
  AND NOT EXISTS (SELECT FROM pg_depend d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2
"""
# Before PostgreSQL 18 no function answers this.
_LARGE_OBJECTS = """
SELECT count(*) FROM pg_largeobject_metadata m
WHERE current_setting('lo_compat_privileges') = 'off' AND NOT {may_read}
"""
_MAY_READ_SINCE_18 = "has_largeobject_privilege(m.oid, 'SELECT')"
_MAY_READ = """(
    (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) OR pg_has_role(m.lomowner, 'USAGE')
    OR EXISTS (SELECT FROM aclexplode(m.lomacl) a
               WHERE a.privilege_type = 'SELECT' AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE'))))
"""
_LOCKS = """
SELECT current_setting('max_locks_per_transaction')::bigint
    * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint)
"""


def require_readable(connection: Any, selected: SelectedTables, alias: str) -> None:
    """Check that the role may read all that pg_dump reads.

    :raises DatabaseUnavailable: it may not; up to 20 objects are named, and what to grant.
    """
    ((user,),) = fetch_rows(connection, "SELECT current_user")
    if problems := [*_find_unreadable(connection, selected, user), *_find_large_objects(connection, selected, user)]:
        raise DatabaseUnavailable(
            f"The role {user!r} {'; it '.join(problems)}. Without that no backup of the database {alias!r} would be "
            "complete; docs/postgresql.md says what to grant."
        )


def describe_locks(connection: Any, selected: SelectedTables) -> str:
    """Return a warning if pg_dump needs more locks than the server promises to have; else an empty text."""
    needed = len(selected.tables)
    ((capacity,),) = fetch_rows(connection, _LOCKS)
    if needed <= capacity:
        return ""
    return (
        f"pg_dump locks {counted(needed, 'table')} at once, and the server promises {capacity:,} locks: the backup may "
        "fail with 'out of shared memory'. Raise max_locks_per_transaction, which needs a restart of the server"
    )


def _find_unreadable(connection: Any, selected: SelectedTables, user: str) -> Iterator[str]:
    relations = [(TableName(*row[:2]), *row[2:]) for row in fetch_rows(connection, _RELATIONS)]
    wanted = set(selected.included or selected.tables)
    numbers = {number for name, *_, number in relations if name in wanted}
    unreadable: list[str] = []
    schemas: set[str] = set()
    hidden: list[str] = []
    for name, kind, may_enter, may_read, is_hidden, owner, _ in relations:
        if selected.included and name not in wanted and owner not in numbers:
            continue
        if not may_enter:
            schemas.add(name.schema)
        elif not may_read:
            unreadable.append(f"{'the sequence ' if kind == 'S' else ''}{name}")
        elif is_hidden and name not in selected.emptied:
            hidden.append(str(name))
    if lacking := [*unreadable, *(f"the schema {name}" for name in sorted(schemas))]:
        yield f"may not read {_join(lacking)}: GRANT pg_read_all_data TO {quote_name(user)} (PostgreSQL 14 and newer)"
    if hidden:
        text = "does not see each row of"
        yield f"{text} {_join(hidden)}, which row security may hide: ALTER ROLE {quote_name(user)} BYPASSRLS"


def _find_large_objects(connection: Any, selected: SelectedTables, user: str) -> Iterator[str]:
    if selected.included:
        return  # pg_dump leaves them out then
    ((is_18,),) = fetch_rows(connection, "SELECT current_setting('server_version_num')::int >= 180000")
    query = _LARGE_OBJECTS.format(may_read=_MAY_READ_SINCE_18 if is_18 else _MAY_READ)
    ((count,),) = fetch_rows(connection, query)
    if count:
        yield (
            f"may not read {counted(count, 'large object')}, which pg_read_all_data does not cover: let a superuser "
            f"ALTER ROLE {quote_name(user)} SET lo_compat_privileges = on, or back up as the owner of all of them"
        )


def _join(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more
