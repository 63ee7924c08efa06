"""Where a backup shall go: what is there, what this role may do there, and which form of restore that allows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.postgresql import schema
from django_cfg.backup.engines.postgresql.archive_script import Contents
from django_cfg.backup.engines.postgresql.connection import connected, connection_settings
from django_cfg.backup.engines.postgresql.drop_objects import OBJECTS
from django_cfg.backup.engines.postgresql.libpq import parameters
from django_cfg.backup.engines.postgresql.pg_restore import Choice
from django_cfg.backup.engines.postgresql.tools import major
from django_cfg.backup.errors import DatabaseUnavailable
from django_cfg.backup.manifest import Manifest

# Databases from which another one can be made and renamed; nobody can rename the one he is connected to.
_DOORS = ("postgres", "template1")
_DATABASE = """
SELECT pg_has_role(datdba, 'USAGE')
    AND pg_has_role(datdba, CASE WHEN current_setting('server_version_num') >= '160000' THEN 'SET' ELSE 'MEMBER' END),
    dattablespace = (SELECT dattablespace FROM pg_database WHERE datname = 'template0')
    OR has_tablespace_privilege(dattablespace, 'CREATE')
FROM pg_database WHERE datname = %s
"""
_ROLE = """
SELECT current_user::text, current_setting('is_superuser') = 'on', rolcreatedb
FROM pg_roles WHERE rolname = current_user
"""
# Those that a scratch would need anew and that this role, no superuser, may not create; or whose package is gone.
_FORBIDDEN_EXTENSIONS = """
SELECT x.extname FROM pg_extension x
LEFT JOIN pg_available_extensions a ON a.name = x.extname
LEFT JOIN pg_available_extension_versions v ON v.name = a.name AND v.version = a.default_version
WHERE x.extname <> 'plpgsql'
  AND (a.name IS NULL OR (v.superuser AND NOT v.trusted AND current_setting('is_superuser') = 'off'))
ORDER BY 1
"""
# What belongs to a database by its identity and would stay behind with the old one.
_BOUND = """
SELECT 'the subscription ' || subname FROM pg_subscription
WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
UNION ALL
SELECT 'the replication slot ' || slot_name FROM pg_replication_slots WHERE database = current_database()
ORDER BY 1
"""


@dataclass(frozen=True)
class Target:
    """What was found where a backup shall go."""

    name: str  # of the database on its server
    exists: bool
    version: str  # of the server
    size: int  # bytes on the server's disk
    user: str
    superuser: bool
    missing_roles: Sequence[str]  # that the backup names
    staying_schemas: Sequence[str]  # that hold parts of extensions
    obstacles: Sequence[str]  # why it cannot be restored into a scratch
    door: Database | None  # another database of the server
    unsaved: Sequence[str] = ()  # objects of a database without any table, of which no backup is made

    @property
    def server(self) -> int:
        return major(self.version)

    def choice(self, contents: Contents) -> Choice:
        """What of an archive is left out: owners where their roles are missing, and what we may not restore."""
        options = ["--no-subscriptions"]
        if self.missing_roles:
            options += ["--no-owner", "--no-privileges"]
        elif not self.superuser:
            options += ["--no-owner"]
        kept = contents.event_triggers_last()
        return Choice(options, kept if self.superuser else kept.without_extension_comments())

    def advice(self, manifest: Manifest, left_out: Sequence[str]) -> str:
        """What the operator has to know of owners.

        :param left_out: what could not be restored without the roles that are missing.
        """
        if self.missing_roles:
            lacking = f" Left out, since they name such roles: {', '.join(left_out)}." if left_out else ""
            return (
                f"The roles {', '.join(self.missing_roles)} do not exist on this server, so everything was restored "
                f"without owners and privileges: it belongs to {self.user}, who restored it. Create them, then "
                f"GRANT what they need.{lacking}"
            )
        if not self.superuser and set(manifest.engine.roles) - {self.user}:
            return f"{self.user} is no superuser, so all that was restored belongs to it, whoever owned it before."
        return ""


def look(database: Database, manifest: Manifest) -> Target:
    """What is where the backup of *manifest* shall go.

    :raises DatabaseUnavailable: the server does not let us in.
    """
    try:
        with connected(database) as connection:
            return _present(connection, manifest, find_door(database))
    except DatabaseUnavailable as error:
        if door := _door_where_it_is_missing(database, error):
            return _absent(database, manifest, door)
        raise


def find_door(database: Database) -> Database | None:
    """Another database of the same server that lets us in; None: no."""
    for name in _DOORS:
        if name == target_name(database):
            continue
        door = named(database, name)
        try:
            with connected(door):
                return door
        except DatabaseUnavailable:
            continue  # the target itself will tell, if it is the server that does not answer
    return None


@contextmanager
def on_the_server(database: Database) -> Iterator[Any]:
    """A connection to the database, or to another one of its server where it is missing."""
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(connected(database))
        except DatabaseUnavailable as error:
            door = _door_where_it_is_missing(database, error)
            if not door:
                raise
            connection = stack.enter_context(connected(door))
        yield connection


def named(database: Database, name: str) -> Database:
    """The database *name* on the server of *database*."""
    settings, connection = (_without_name(part) for part in (database.settings, database.connection))
    return replace(database, settings={**settings, "NAME": name}, connection=connection)


def _without_name(settings: Mapping[str, Any]) -> dict[str, Any]:
    """OPTIONS may name the database too, and the driver lets them outrank NAME."""
    options = {name: value for name, value in settings.get("OPTIONS", {}).items() if name != "dbname"}
    return {**settings, **({"OPTIONS": options} if "OPTIONS" in settings else {})}


def target_name(database: Database) -> str:
    """As the settings name it; a service file may name it instead."""
    return parameters(connection_settings(database)).get("dbname", "")


def _door_where_it_is_missing(database: Database, error: DatabaseUnavailable) -> Database | None:
    """Another database of the server, which knows no such database; None when it is something else that fails."""
    name = target_name(database)
    if not name or name not in str(error.__cause__):  # the server names it, in whatever language
        return None
    door = find_door(database)
    if door is None:
        return None
    with connected(door) as connection:
        is_there = schema.rows(connection, "SELECT 1 FROM pg_database WHERE datname = %s", [name])
    return None if is_there else door


def _present(connection: Any, manifest: Manifest, door: Database | None) -> Target:
    (name,) = schema.rows(connection, "SELECT current_database()")[0]
    ((user, superuser, may_create),) = schema.rows(connection, _ROLE)
    obstacles = _no_right_to_create(user, superuser or may_create) + _obstacles(connection, name, user)
    if not door:
        obstacles.append(f"no other database of the server lets {user} in ({' or '.join(_DOORS)})")
    return Target(
        name=name,
        exists=True,
        version=schema.server_version(connection),
        size=schema.size(connection),
        user=user,
        superuser=superuser,
        missing_roles=schema.missing_roles(connection, manifest.engine.roles),
        staying_schemas=schema.extension_schemas(connection),
        obstacles=obstacles,
        door=door,
        unsaved=() if schema.tables(connection) else [told for (told,) in schema.rows(connection, OBJECTS)],
    )


def _absent(database: Database, manifest: Manifest, door: Database) -> Target:
    with connected(door) as connection:
        ((user, superuser, may_create),) = schema.rows(connection, _ROLE)
        return Target(
            name=target_name(database),
            exists=False,
            version=schema.server_version(connection),
            size=0,
            user=user,
            superuser=superuser,
            missing_roles=schema.missing_roles(connection, manifest.engine.roles),
            staying_schemas=(),
            obstacles=_no_right_to_create(user, superuser or may_create),
            door=door,
        )


def _no_right_to_create(user: str, may_create: bool) -> list[str]:
    return [] if may_create else [f"the role {user} may not create databases (CREATEDB)"]


def _obstacles(connection: Any, name: str, user: str) -> list[str]:
    ((owns, may_place),) = schema.rows(connection, _DATABASE, [name])
    obstacles = [] if owns else [f"the role {user} does not own the database"]
    obstacles += [] if may_place else [f"the role {user} may not create anything in the database's tablespace"]
    if extensions := [extension for (extension,) in schema.rows(connection, _FORBIDDEN_EXTENSIONS)]:
        obstacles.append(f"the role {user} may not create {_extensions(extensions)}")
    return obstacles + [f"{bound} belongs to it" for (bound,) in schema.rows(connection, _BOUND)]


def _extensions(names: Sequence[str]) -> str:
    return f"the extension{'s' if len(names) > 1 else ''} {', '.join(names)}"
