"""The target of a restore: what exists there, what this role may do there, and with which programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.postgresql import schema
from django_cfg.backup.engines.postgresql.connection import (
    MAINTENANCE_DATABASES,
    connect,
    find_maintenance_database,
    find_maintenance_of_missing,
)
from django_cfg.backup.engines.postgresql.drop_objects import COUNT_OBJECTS
from django_cfg.backup.engines.postgresql.libpq import get_database_name
from django_cfg.backup.engines.postgresql.tools import Tools, choose_tools, parse_major
from django_cfg.backup.errors import DatabaseUnavailable
from django_cfg.backup.manifest import Manifest

_DATABASE = """
SELECT pg_has_role(datdba, 'USAGE')
    AND pg_has_role(datdba, CASE WHEN current_setting('server_version_num') >= '160000' THEN 'SET' ELSE 'MEMBER' END),
    dattablespace = (SELECT dattablespace FROM pg_database WHERE datname = 'template0')
    OR has_tablespace_privilege(dattablespace, 'CREATE')
FROM pg_database WHERE datname = %s
"""
_MAY_OWN = """
SELECT pg_has_role(oid, 'USAGE')
    AND pg_has_role(oid, CASE WHEN current_setting('server_version_num') >= '160000' THEN 'SET' ELSE 'MEMBER' END)
FROM pg_roles WHERE rolname = %s
"""
_ROLE = """
SELECT current_user::text, current_setting('is_superuser') = 'on', rolcreatedb
FROM pg_roles WHERE rolname = current_user
"""
_TABLESPACES = "SELECT spcname FROM pg_tablespace WHERE has_tablespace_privilege(oid, 'CREATE')"
_ACCESS_METHODS = "SELECT amname FROM pg_am WHERE amtype = 't'"
_FORBIDDEN_ROLES = """
SELECT rolname FROM pg_roles
WHERE NOT pg_has_role(oid, CASE WHEN current_setting('server_version_num') >= '160000' THEN 'USAGE' ELSE 'MEMBER' END)
"""
# Extensions that a staging database needs and this role, no superuser, may not create; or whose package is gone.
_FORBIDDEN_EXTENSIONS = """
SELECT x.extname FROM pg_extension x
LEFT JOIN pg_available_extensions a ON a.name = x.extname
LEFT JOIN pg_available_extension_versions v ON v.name = a.name AND v.version = a.default_version
WHERE x.extname <> 'plpgsql'
  AND (a.name IS NULL OR (v.superuser AND NOT v.trusted AND current_setting('is_superuser') = 'off'))
ORDER BY 1
"""
# What belongs to a database by its identity and would stay with the old one.
_BOUND = """
SELECT 'the subscription ' || subname FROM pg_subscription
WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
UNION ALL
SELECT 'the replication slot ' || slot_name FROM pg_replication_slots WHERE database = current_database()
ORDER BY 1
"""


@dataclass(frozen=True)
class Target:
    """The database that a backup is restored into, as it was found."""

    database: Database
    manifest: Manifest  # of the backup
    tools: Tools
    name: str  # of the database on its server
    exists: bool
    version: str  # of the server
    size: int  # bytes on the server's disk
    user: str
    is_superuser: bool
    missing_roles: Sequence[str]  # that the backup names
    missing_tablespaces: Sequence[str]  # that it names, and this server or role may not use
    missing_access_methods: Sequence[str]  # of tables, likewise
    forbidden_roles: Sequence[str]  # for which this role may not change default privileges
    extension_schemas: Sequence[str]  # which a restore in place does not drop
    obstacles: Sequence[str]  # why a staging database cannot be used
    maintenance: Database | None  # another database of the server
    unsaved: Sequence[str] = ()  # objects of a database without any table, of which no backup is made

    @property
    def server(self) -> int:
        return parse_major(self.version)

    def find_lost_owner(self, connection: Any) -> str:
        """Return the role that owned the database, if it can own it again; else an empty name."""
        properties = self.manifest.engine.properties
        found = schema.fetch_rows(connection, _MAY_OWN, [properties.owner]) if properties else []
        return properties.owner if properties and found == [(True,)] else ""


def inspect_target(database: Database, manifest: Manifest) -> Target:
    """Return what exists where the backup of *manifest* is to be restored.

    :raises DatabaseUnavailable: the server refuses the connection.
    :raises ToolNotFound: the programs for it are not installed.
    :raises ToolTooOld: the programs are too old for it.
    """
    try:
        with connect(database) as connection:
            maintenance = find_maintenance_database(database)
            ((name,),) = schema.fetch_rows(connection, "SELECT current_database()")
            return _inspect(connection, database, manifest, name, maintenance, exists=True)
    except DatabaseUnavailable as error:
        maintenance = find_maintenance_of_missing(database, error)
        if not maintenance:
            raise
    with connect(maintenance) as connection:
        return _inspect(connection, database, manifest, get_database_name(database), maintenance, exists=False)


def _inspect(
    connection: Any, database: Database, manifest: Manifest, name: str, maintenance: Database | None, *, exists: bool
) -> Target:
    ((user, is_superuser, may_create),) = schema.fetch_rows(connection, _ROLE)
    obstacles = [] if is_superuser or may_create else [f"the role {user} may not create databases (CREATEDB)"]
    if exists:
        obstacles += _find_obstacles(connection, name, user)
    if not maintenance:
        obstacles.append(f"no other database of the server accepts {user} ({' or '.join(MAINTENANCE_DATABASES)})")
    version = schema.get_server_version(connection)
    major = max(parse_major(version), parse_major(manifest.engine.tool_version))
    is_empty = exists and not schema.list_tables(connection)
    return Target(
        database=database,
        manifest=manifest,
        tools=choose_tools(major, database.tools_dir, f"To restore the database {database.alias!r}"),
        name=name,
        exists=exists,
        version=version,
        size=schema.get_database_size(connection) if exists else 0,
        user=user,
        is_superuser=is_superuser,
        missing_roles=schema.list_missing_roles(connection, manifest.engine.roles),
        missing_tablespaces=_list_missing(connection, _TABLESPACES, manifest.engine.tablespaces),
        missing_access_methods=_list_missing(connection, _ACCESS_METHODS, manifest.engine.access_methods),
        forbidden_roles=[role for (role,) in schema.fetch_rows(connection, _FORBIDDEN_ROLES)],
        extension_schemas=schema.list_extension_schemas(connection) if exists else (),
        obstacles=obstacles,
        maintenance=maintenance,
        unsaved=[text for (text,) in schema.fetch_rows(connection, COUNT_OBJECTS)] if is_empty else (),
    )


def _list_missing(connection: Any, query: str, needed: Sequence[str]) -> list[str]:
    known = {name for (name,) in schema.fetch_rows(connection, query)}
    return [name for name in needed if name not in known]


def _find_obstacles(connection: Any, name: str, user: str) -> list[str]:
    ((is_owner, may_use_tablespace),) = schema.fetch_rows(connection, _DATABASE, [name])
    obstacles = [] if is_owner else [f"the role {user} does not own the database"]
    if not may_use_tablespace:
        obstacles.append(f"the role {user} may not create anything in the database's tablespace")
    if extensions := [extension for (extension,) in schema.fetch_rows(connection, _FORBIDDEN_EXTENSIONS)]:
        plural = "s" if len(extensions) > 1 else ""
        obstacles.append(f"the role {user} may not create the extension{plural} {', '.join(extensions)}")
    return obstacles + [f"{bound} belongs to it" for (bound,) in schema.fetch_rows(connection, _BOUND)]
