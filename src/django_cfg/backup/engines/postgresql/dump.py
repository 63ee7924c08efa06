"""The dump: pg_dump's stream, while a second connection counts the rows in the same snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import Any

from django_cfg.backup.engines.base import Database, Dump, DumpReport, Selection
from django_cfg.backup.engines.extra_options import check_extra_options
from django_cfg.backup.engines.postgresql import database_properties, schema
from django_cfg.backup.engines.postgresql.connection import (
    connected,
    explaining,
    program_settings,
)
from django_cfg.backup.engines.postgresql.error_text import program
from django_cfg.backup.engines.postgresql.extra_options import RULES
from django_cfg.backup.engines.postgresql.libpq import connection_string
from django_cfg.backup.engines.postgresql.tools import Tools, choose, major, newer_than
from django_cfg.backup.errors import DumpFailed
from django_cfg.backup.manifest import EngineFacts, Table
from django_cfg.backup.process.child import Child

_AGAIN = 0.2  # seconds between two attempts to end the counting
_MOMENT = 1.0  # seconds that the counting has to tell of an error that pg_dump met too


class PostgreSQLDump(Dump):
    """pg_dump under way, and the counting beside it."""

    def __init__(self, child: Child, expected_size: int, counted: Future[DumpReport], alias: str) -> None:
        self.stream = _Output(child, counted, alias)
        self.expected_size = expected_size
        self._counted = counted

    def report(self) -> DumpReport:
        return self._counted.result()


class _Output:
    """What pg_dump writes. Its end is told only when pg_dump ended well: before that it is no dump."""

    def __init__(self, child: Child, counted: Future[DumpReport], alias: str) -> None:
        self._child = child
        self._counted = counted
        self._alias = alias

    def read(self, size: int = -1) -> bytes:
        block = self._child.stdout.read(size)
        if not block and size != 0:
            self._finish()
        return block

    def _finish(self) -> None:
        try:
            with explaining(self._alias):
                self._child.wait()
        except DumpFailed:
            with suppress(TimeoutError):
                self._counted.result(_MOMENT)  # where it failed too, it took the snapshot with it: the cause
            raise


@contextmanager
def dumping(database: Database, selection: Selection) -> Iterator[Dump]:
    """A dump of *database* in one snapshot, its tables counted in the same one."""
    options = check_extra_options(selection.extra_options, database.alias, RULES)
    with connected(database) as connection:
        version = schema.server_version(connection)
        tools = choose(major(version), database.tools_dir, f"To dump the database {database.alias!r}")
        expected_size = schema.size(connection)
        with explaining(database.alias):
            snapshot = _open_snapshot(connection, database)
            cut = schema.cut(connection, selection, database.alias)
            schema.require_readable(connection, cut, database.alias)
        settings = program_settings(database)
        argv = _argv(tools, settings, cut, snapshot, [f"--lock-wait-timeout={database.lock_timeout * 1000}", *options])
        with program(argv, settings=settings) as child, ThreadPoolExecutor(1) as beside:
            counted = beside.submit(_count, connection, database, cut, tools, version)
            try:
                yield PostgreSQLDump(child, expected_size, counted, database.alias)
            except BaseException:
                _end(counted, connection)
                raise


def _end(counted: Future[DumpReport], connection: Any) -> None:
    """The counting has nobody left to count for. It is asked again: between two queries there is nothing to cancel."""
    while not counted.done():
        with suppress(Exception):  # the server may be gone; the error that is raised says more
            connection.cancel()
        wait([counted], _AGAIN)


def _open_snapshot(connection: Any, database: Database) -> str:
    """Begin the transaction whose view of the data pg_dump takes over."""
    schema.execute(
        connection,
        "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        "SET LOCAL row_security = off",  # rows that a policy hides are an error, not a smaller backup
        f"SET LOCAL lock_timeout = '{database.lock_timeout}s'",
        schema.NO_TIMEOUTS_NOW,
    )
    snapshot: str = schema.rows(connection, "SELECT pg_export_snapshot()")[0][0]
    return snapshot


def _argv(
    tools: Tools, settings: Mapping[str, Any], cut: schema.Cut, snapshot: str, options: Sequence[str]
) -> list[str]:
    role = settings.get("OPTIONS", {}).get("assume_role")
    return [
        tools.path("pg_dump"),
        "--format=custom",
        "--compress=0",
        "--no-password",
        f"--snapshot={snapshot}",
        *([f"--role={role}"] if role else []),
        *(f"--exclude-table-data={name.quoted}" for name in cut.emptied),
        *(f"--table={name.quoted}" for name in cut.included),
        *options,
        f"--dbname={connection_string(settings)}",
    ]


def _count(connection: Any, database: Database, cut: schema.Cut, tools: Tools, version: str) -> DumpReport:
    with explaining(database.alias):
        counted = schema.count_rows(connection, [name for name in cut.tables if name not in cut.emptied])
        migrations = schema.last_migrations(connection)
        roles = schema.roles(connection)
        characters = database_properties.characters(connection)
    facts = EngineFacts(
        vendor="postgresql",
        server_version=version,
        tool="pg_dump",
        tool_version=tools.version,
        format="pgdump",
        roles=tuple(roles),
        characters=characters,
    )
    rows = {str(name): counted.get(str(name), 0) for name in cut.tables}
    return DumpReport(
        facts,
        tuple(Table(name=name, rows=count, exact=True) for name, count in rows.items()),
        tuple(map(str, cut.emptied)),
        migrations,
        tuple(filter(None, [newer_than(tools, version), cut.warning])),
    )
