"""Looking whether a dump would succeed, without making one."""

from __future__ import annotations

from collections.abc import Iterator

from django_cfg.backup.engines.base import Database, Finding, Level, Selection
from django_cfg.backup.engines.extra_options import check_extra_options
from django_cfg.backup.engines.mysql.connection import connected, location
from django_cfg.backup.engines.mysql.dump import looked_at
from django_cfg.backup.engines.mysql.extra_options import RULES
from django_cfg.backup.engines.mysql.schema import Cut
from django_cfg.backup.engines.mysql.session import Session
from django_cfg.backup.engines.mysql.tools import client_tool, dump_tool, misfit
from django_cfg.backup.errors import ToolNotFound


def inspecting(database: Database, selection: Selection) -> Iterator[Finding]:
    """The server, the program for it, the right to see everything.

    :raises BackupError: a dump would fail.
    """
    alias = database.alias
    check_extra_options(selection.extra_options, alias, RULES)
    with connected(database) as session:
        yield Finding(Level.OK, alias, f"{session.server}, {location(database)}, answers")
        tool = dump_tool(session.vendor, database.tools_dir, f"To dump the database {alias!r}")
        if told := misfit(tool, session.vendor, session.version):
            yield Finding(Level.WARNING, alias, f"{told}.")
        else:
            yield Finding(Level.OK, alias, f"{tool.name} {tool.version} fits the server")
        yield from _client(database, session)
        cut = looked_at(session, selection, alias)
        yield Finding(Level.OK, alias, f"{len(cut.tables)} tables can be read")
        yield from _loose(alias, cut)


def _client(database: Database, session: Session) -> Iterator[Finding]:
    """A backup goes without it; on the day of the restore it is late to find out."""
    try:
        client_tool(session.vendor, database.tools_dir, f"To restore or drill the database {database.alias!r}")
    except ToolNotFound as error:
        yield Finding(Level.WARNING, database.alias, str(error))


def _loose(alias: str, cut: Cut) -> Iterator[Finding]:
    if loose := [f"{table.name} ({table.engine})" for table in cut.filled if not table.transactional]:
        yield Finding(Level.WARNING, alias, f"no snapshot covers {', '.join(loose)}: use InnoDB")
