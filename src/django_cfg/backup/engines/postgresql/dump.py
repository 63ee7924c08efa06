"""The dump: pg_dump's stream, while a second connection counts the rows in the same snapshot.

With ``dump_jobs`` others dump the rows of large tables at the same time, each into a stream of its own: the same
snapshot makes them one state of the database.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from django_cfg.backup.engines.base import Database, Dump, DumpReport, Finding, Level, Selection
from django_cfg.backup.engines.extra_options import OptionRules, check_extra_options
from django_cfg.backup.engines.postgresql import schema
from django_cfg.backup.engines.postgresql.connection import connect, get_program_settings
from django_cfg.backup.engines.postgresql.custom_format import CustomFormatReader
from django_cfg.backup.engines.postgresql.database_properties import describe_properties, fetch_characters
from django_cfg.backup.engines.postgresql.error_advice import explain_dump_errors
from django_cfg.backup.engines.postgresql.libpq import build_conninfo, describe_location
from django_cfg.backup.engines.postgresql.permissions import describe_locks, require_readable
from django_cfg.backup.engines.postgresql.schema import TableName
from django_cfg.backup.engines.postgresql.tools import (
    Tools,
    choose_tools,
    describe_mismatch,
    parse_major,
    start_program,
)
from django_cfg.backup.errors import DumpFailed
from django_cfg.backup.formatting import counted
from django_cfg.backup.manifest import EngineFacts, Table
from django_cfg.backup.pipeline.stream import CheckedReader
from django_cfg.backup.process.child import Child

_CANCEL_PAUSE = 0.2  # seconds between two attempts to cancel the count
_COUNTED_AT_ONCE = 20  # tables whose locks are held together
_COUNT_TIMEOUT = 1.0  # seconds that the count has to fail of the same cause as pg_dump

# Options that choose the output, its format, the connection, the snapshot, the tables or their data; and the one with
# whose rows a restore would write to another server.
_REFUSED = (
    "--file", "--format", "--compress", "--jobs", "--no-sync", "--sync-method", "--create", "--clean", "--if-exists",
    "--dbname", "--host", "--port", "--username", "--password", "--no-password", "--role",
    "--snapshot", "--lock-wait-timeout", "--version", "--help",
    "--table", "--table-and-children", "--exclude-table", "--exclude-table-and-children",
    "--exclude-table-data", "--exclude-table-data-and-children", "--filter",
    "--schema", "--exclude-schema", "--extension", "--exclude-extension",
    "--data-only", "--schema-only", "--section", "--statistics-only", "--no-data", "--no-schema",
    "--no-unlogged-table-data", "--no-large-objects", "--no-blobs", "--include-foreign-data",
    "--enable-row-security", "--binary-upgrade",
)  # fmt: skip
_LARGE_OBJECTS = ("-b", "--large-objects", "--blobs")  # extra options that ask for them: one archive has them all
OPTION_RULES = OptionRules(
    refused=_REFUSED,
    allowed_short={"-O", "-x", "-v", "-b"},
    normalize=str,
    why=(
        "options that choose pg_dump's output, format, connection, tables or data are set by this package "
        "(exclude_tables, include_tables, connection, lock_timeout), so that a backup records what it lacks."
    ),
    example="--encoding=UTF8",
)


class PostgreSQLDump(Dump):
    """Running pg_dumps, and the count in parallel with them. A stream ends only if its pg_dump has succeeded.

    :param programs: each with the tables of which it dumps the rows; the first one dumps all else, too.
    """

    def __init__(
        self,
        programs: Sequence[tuple[Child, Collection[TableName]]],
        expected_size: int,
        count: Future[DumpReport],
        alias: str,
    ) -> None:
        self._children = [child for child, _ in programs]
        self._formats = [CustomFormatReader(child.stdout, tables, alias) for child, tables in programs]
        self.stream, *self.row_streams = (
            CheckedReader(reader, partial(self._check_end, child, reader))
            for child, reader in zip(self._children, self._formats, strict=True)
        )
        self.expected_size = expected_size
        self._count, self._alias = count, alias

    def kill(self) -> None:
        for child in self._children:
            child.kill()

    def _check_end(self, child: Child, reader: CustomFormatReader) -> None:
        try:
            with explain_dump_errors(self._alias):
                child.wait()
        except DumpFailed:
            with suppress(TimeoutError):
                self._count.result(_COUNT_TIMEOUT)  # if it failed too, it ended the snapshot: its error is the cause
            raise
        reader.check_end()

    def report(self) -> DumpReport:
        report = self._count.result()
        if version := self._formats[0].unknown_version:
            text = (
                f"pg_dump wrote version {version} of its format, which is not known here and was not checked: drill it"
            )
            report = replace(report, warnings=(*report.warnings, text))
        return report


@contextmanager
def open_dump(database: Database, selection: Selection) -> Iterator[Dump]:
    """Dump *database* in one snapshot, and count its rows in the same one."""
    options = check_extra_options(selection.extra_options, database.alias, OPTION_RULES)
    with connect(database) as connection:
        version = schema.get_server_version(connection)
        tools = _choose_tools(database, version)
        expected_size = schema.get_database_size(connection)
        with explain_dump_errors(database.alias):
            snapshot = _open_snapshot(connection, database)
            selected = schema.select_tables(connection, selection, database.alias)
            require_readable(connection, selected, database.alias)
            groups = schema.group_large_tables(connection, selected.filled, database.dump_jobs)
        settings = get_program_settings(database)
        shared = [f"--snapshot={snapshot}", f"--lock-wait-timeout={database.lock_timeout * 1000}"]
        elsewhere = {name for group in groups for name in group}
        tables = [[name for name in selected.filled if name not in elsewhere], *groups]
        commands = [
            _build_argv(tools, settings, selected, elsewhere, [*shared, *options]),
            *(_build_rows_argv(tools, settings, group, [*shared, *options]) for group in groups),
        ]
        with ExitStack() as programs, ThreadPoolExecutor(1) as thread:
            children = [
                programs.enter_context(start_program(argv, settings=settings, limit=database.dump_timeout))
                for argv in commands
            ]
            count = thread.submit(_count, connection, database, selected, tools, version)
            try:
                yield PostgreSQLDump(list(zip(children, tables, strict=True)), expected_size, count, database.alias)
            except BaseException:
                _cancel(count, connection)
                raise


def check_health(database: Database, selection: Selection) -> Iterator[Finding]:
    """Check, without dumping, the server, its programs, and the right to read every table.

    :raises BackupError: a dump would fail.
    """
    alias = database.alias
    check_extra_options(selection.extra_options, alias, OPTION_RULES)
    with connect(database) as connection:
        version = schema.get_server_version(connection)
        yield Finding(Level.OK, alias, f"PostgreSQL {version}, {describe_location(database)}, answers")
        tools = _choose_tools(database, version)
        if warning := describe_mismatch(tools, version):
            yield Finding(Level.WARNING, alias, warning)
        else:
            yield Finding(Level.OK, alias, f"pg_dump {tools.version} fits the server")
        if missing := tools.list_missing("pg_restore", "psql"):
            text = f"a restore or a drill needs {' and '.join(missing)} too, not found in {tools.folder}: install "
            yield Finding(Level.WARNING, alias, f"{text}postgresql-client-{tools.major}")
        selected = schema.select_tables(connection, selection, alias)
        require_readable(connection, selected, alias)
        yield Finding(Level.OK, alias, f"{counted(len(selected.tables), 'table')} can be read")
        for warning in filter(None, [selected.warning, describe_locks(connection, selected)]):
            yield Finding(Level.WARNING, alias, warning)


def _choose_tools(database: Database, server_version: str) -> Tools:
    return choose_tools(parse_major(server_version), database.tools_dir, f"To dump the database {database.alias!r}")


def _open_snapshot(connection: Any, database: Database) -> str:
    """Begin the transaction whose snapshot pg_dump uses."""
    schema.execute(
        connection,
        "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        "SET LOCAL row_security = off",  # rows that a policy hides are an error, not a smaller backup
        f"SET LOCAL lock_timeout = '{database.lock_timeout}s'",
        schema.NO_TIMEOUTS_LOCAL,
    )
    snapshot: str = schema.fetch_rows(connection, "SELECT pg_export_snapshot()")[0][0]
    return snapshot


def _build_argv(
    tools: Tools,
    settings: Mapping[str, Any],
    selected: schema.SelectedTables,
    elsewhere: Collection[TableName],
    options: Sequence[str],
) -> list[str]:
    """Return the command of the program that dumps everything but the rows of the tables *elsewhere*."""
    chosen = [f"--exclude-table-data={name.quoted}" for name in (*selected.emptied, *sorted(elsewhere, key=str))]
    chosen += [f"--table={name.quoted}" for name in selected.included]
    return _complete(tools, settings, [*chosen, *options])


def _build_rows_argv(
    tools: Tools, settings: Mapping[str, Any], tables: Sequence[TableName], options: Sequence[str]
) -> list[str]:
    """Return the command of a program that dumps the rows of *tables* alone."""
    kept = [option for option in options if option not in _LARGE_OBJECTS]
    return _complete(tools, settings, ["--data-only", *(f"--table={name.quoted}" for name in tables), *kept])


def _complete(tools: Tools, settings: Mapping[str, Any], options: Sequence[str]) -> list[str]:
    role = settings.get("OPTIONS", {}).get("assume_role")
    argv = [tools.path("pg_dump"), "--format=custom", "--compress=0", "--no-password"]
    argv += [f"--role={role}"] if role else []
    return [*argv, *options, f"--dbname={build_conninfo(settings)}"]


def _count(
    connection: Any, database: Database, selected: schema.SelectedTables, tools: Tools, version: str
) -> DumpReport:
    with explain_dump_errors(database.alias):
        counts = _count_rows(connection, selected.filled)
        foreign = () if selected.included else schema.list_foreign_tables(connection)
        migrations = schema.fetch_migrations(connection)
        facts = EngineFacts(
            vendor="postgresql",
            server_version=version,
            tool="pg_dump",
            tool_version=tools.version,
            format="pgdump",
            roles=tuple(schema.list_roles(connection)),
            tablespaces=tuple(schema.list_tablespaces(connection)),
            access_methods=tuple(schema.list_access_methods(connection)),
            characters=fetch_characters(connection),
            properties=describe_properties(connection),
        )
    return DumpReport(
        facts,
        tuple(Table(name=str(name), rows=counts.get(str(name), 0), exact=True) for name in selected.tables),
        (*map(str, selected.emptied), *foreign),
        migrations,
        tuple(filter(None, [describe_mismatch(tools, version), selected.warning])),
    )


def _count_rows(connection: Any, names: Sequence[TableName]) -> dict[str, int]:
    """Count in the transaction, and give the locks on tables and indexes back: pg_dump needs some of them itself."""
    counts: dict[str, int] = {}
    for begin in range(0, len(names), _COUNTED_AT_ONCE):
        schema.execute(connection, "SAVEPOINT counting")
        counts |= schema.count_rows(connection, names[begin : begin + _COUNTED_AT_ONCE])
        schema.execute(connection, "ROLLBACK TO SAVEPOINT counting", "RELEASE SAVEPOINT counting")
    return counts


def _cancel(count: Future[DumpReport], connection: Any) -> None:
    """Cancel the count, again and again: between two queries there is nothing to cancel."""
    while not count.done():
        with suppress(Exception):  # the server may be gone; the error that is raised says more
            connection.cancel()
        wait([count], _CANCEL_PAUSE)
