"""Looking whether a dump would succeed, without making one."""

from __future__ import annotations

from collections.abc import Iterator

from django_cfg.backup.engines.base import Database, Finding, Level, Selection
from django_cfg.backup.engines.extra_options import check_extra_options
from django_cfg.backup.engines.postgresql import schema
from django_cfg.backup.engines.postgresql.connection import connected, location
from django_cfg.backup.engines.postgresql.extra_options import RULES
from django_cfg.backup.engines.postgresql.tools import choose, major, newer_than


def inspecting(database: Database, selection: Selection) -> Iterator[Finding]:
    """The server, the tools for it, the right to read every table.

    :raises BackupError: a dump would fail.
    """
    alias = database.alias
    check_extra_options(selection.extra_options, alias, RULES)
    with connected(database) as connection:
        version = schema.server_version(connection)
        yield Finding(Level.OK, alias, f"PostgreSQL {version}, {location(database)}, answers")
        tools = choose(major(version), database.tools_dir, f"To dump the database {alias!r}")
        if warning := newer_than(tools, version):
            yield Finding(Level.WARNING, alias, warning)
        else:
            yield Finding(Level.OK, alias, f"pg_dump {tools.version} fits the server")
        if missing := tools.missing("pg_restore", "psql"):
            told = f"a restore or a drill needs {' and '.join(missing)} too, not found in {tools.folder}: install "
            yield Finding(Level.WARNING, alias, f"{told}postgresql-client-{tools.major}")
        cut = schema.cut(connection, selection, alias)
        schema.require_readable(connection, cut, alias)
        yield Finding(Level.OK, alias, f"{len(cut.tables)} tables can be read")
        if cut.warning:
            yield Finding(Level.WARNING, alias, cut.warning)
