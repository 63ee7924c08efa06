"""The dump: the output of mariadb-dump or mysqldump, scanned as it passes, while two other sessions count rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from django_cfg.backup.engines.base import Database, Dump, DumpReport, Finding, Level, Selection
from django_cfg.backup.engines.extra_options import OptionRules, check_extra_options
from django_cfg.backup.engines.mysql import schema, staging_schemas
from django_cfg.backup.engines.mysql.connection import connect, location
from django_cfg.backup.engines.mysql.dump_scanner import DumpScanner
from django_cfg.backup.engines.mysql.error_advice import dump_failed, explain_dump_errors
from django_cfg.backup.engines.mysql.error_text import STDERR_LINES, remove_row_data
from django_cfg.backup.engines.mysql.option_file import OptionFile, open_option_file
from django_cfg.backup.engines.mysql.privileges import require_dump_privileges
from django_cfg.backup.engines.mysql.row_counts import RowCounter, open_snapshot
from django_cfg.backup.engines.mysql.schema import SelectedTables
from django_cfg.backup.engines.mysql.session import Session, get_max_packet, quote_name, raise_max_packet
from django_cfg.backup.engines.mysql.stored_code.contents import list_contents
from django_cfg.backup.engines.mysql.tools import CLIENTS, DUMP_TOOLS, Tool, describe_mismatch, find_tool
from django_cfg.backup.errors import DatabaseUnavailable, DumpFailed, ToolNotFound, VerificationFailed
from django_cfg.backup.formatting import megabytes
from django_cfg.backup.manifest import EngineFacts, Table
from django_cfg.backup.process.child import Child

_OPTIONS = ("--single-transaction", "--quick", "--triggers", "--hex-blob", "--no-tablespaces",
            "--default-character-set=utf8mb4", "--max-allowed-packet=1G")  # fmt: skip
_MYSQL_OPTIONS = ("--set-gtid-purged=OFF", "--column-statistics=0")  # not all versions have them
_WITHOUT_ROWS = "--ignore-table-data"  # only MariaDB's program has it

# Options that choose the output and its form, the connection, the tables, the snapshot, what may be locked or lost.
_REFUSED = (
    "--result-file", "--tab", "--xml", "--dir", "--parallel", "--compact", "--skip-comments", "--comments",
    "--skip-opt", "--opt", "--compatible", "--fields-terminated-by", "--fields-enclosed-by",
    "--fields-optionally-enclosed-by", "--fields-escaped-by", "--lines-terminated-by",
    "--delayed-insert", "--skip-quote-names", "--quote-names",
    "--skip-dump-date", "--default-character-set", "--skip-set-charset", "--set-charset",
    "--no-set-names", "--skip-tz-utc", "--tz-utc", "--skip-hex-blob", "--hex-blob", "--skip-quick", "--quick",
    "--skip-create-options", "--create-options", "--skip-add-drop-table", "--add-drop-table", "--add-drop-trigger",
    "--add-drop-database", "--header", "--log-error",
    "--host", "--port", "--user", "--password", "--password1", "--socket", "--protocol", "--pipe", "--bind-address",
    "--login-path", "--defaults-file", "--defaults-extra-file", "--defaults-group-suffix", "--no-defaults",
    "--print-defaults", "--ssl", "--skip-ssl", "--ssl-mode", "--ssl-verify-server-cert",
    "--skip-ssl-verify-server-cert", "--ssl-ca", "--ssl-capath", "--ssl-cert", "--ssl-cipher", "--ssl-key", "--ssl-crl",
    "--ssl-crlpath", "--tls-version", "--tls-ciphersuites", "--plugin-dir", "--default-auth",
    "--all-databases", "--databases", "--ignore-database", "--tables", "--ignore-table", "--ignore-table-data",
    "--where", "--system", "--no-create-db", "--no-create-info", "--no-data", "--no-data-med", "--as-of",
    "--dump-history", "--include-master-host-port", "--all-tablespaces",
    "--skip-routines", "--routines", "--skip-triggers", "--triggers", "--skip-events", "--events",
    "--single-transaction", "--skip-single-transaction", "--lock-tables", "--lock-all-tables", "--flush-logs",
    "--flush-privileges", "--delete-master-logs", "--delete-source-logs", "--master-data", "--source-data",
    "--dump-slave", "--dump-replica", "--apply-slave-statements", "--apply-replica-statements",
    "--force", "--ignore-error", "--replace", "--insert-ignore", "--help", "--version", "--init-command",
)  # fmt: skip


def _normalize_option(name: str) -> str:
    name = name.replace("_", "-").lower()
    for prefix in ("--loose-", "--enable-", "--maximum-"):
        name = "--" + name.removeprefix(prefix) if name.startswith(prefix) else name
    return name.replace("--disable-", "--skip-", 1)


OPTION_RULES = OptionRules(
    refused=_REFUSED,
    allowed_short={"-v", "-C", "-c", "-i"},
    normalize=_normalize_option,
    why=(
        "options that choose the dump's output, its form, the connection, the tables or what is locked are set by this "
        "package (exclude_tables, include_tables, connection)."
    ),
    example="--net-buffer-length=65536",
)


@dataclass(frozen=True)
class _Source:
    """What is dumped, and by which program; known before the dump begins."""

    session: Session
    tool: Tool
    selected: SelectedTables
    migrations: Mapping[str, tuple[str, ...]]
    size: int  # of the dump, estimated, in bytes
    charset: tuple[str, str]  # of the database, and its collation
    max_packet: int  # bytes of a statement that the server takes

    @property
    def has_history(self) -> bool:
        """Whether the dump holds the past of system-versioned tables.

        The program refuses a dump with history if one table keeps it by the numbers of transactions.
        """
        return self.tool.has_option("--dump-history") and not self.selected.transaction_precise

    def build_argv(self, file: OptionFile, extra_options: Sequence[str]) -> Iterator[list[str]]:
        """Return the command of one program; of two, one after the other, if one cannot leave out rows alone.

        MariaDB's ignores the option for tables that are named.
        """
        tool, database = self.tool, self.session.database
        included, excluded = self.selected.included, self.selected.excluded
        mysql = _MYSQL_OPTIONS if tool.vendor == "mysql" else ()
        mysql_options = [option for option in mysql if tool.has_option(option.partition("=")[0])]
        base = [tool.path, file.argument, *_OPTIONS, *mysql_options, *extra_options]
        history = ["--dump-history"] if self.has_history and self.selected.versioned else []
        stored_code = [] if included else ["--routines", "--events"]
        if not excluded or (not included and tool.has_option(_WITHOUT_ROWS)):
            left_out = [f"{_WITHOUT_ROWS}={database}.{name}" for name in excluded]
            yield [*base, *history, *stored_code, *left_out, "--", database, *included]
        else:
            yield [*base, "--no-data", "--", database, *excluded]
            left_out = [f"--ignore-table={database}.{name}" for name in excluded]
            tables = [name for name in included if name not in excluded]
            if tables or not included:
                yield [*base, *history, *stored_code, *left_out, "--", database, *tables]

    def build_report(self, scanner: DumpScanner, tables: tuple[Table, ...]) -> DumpReport:
        facts = EngineFacts(
            vendor=self.session.vendor,
            server_version=self.session.version,
            tool=self.tool.name,
            tool_version=self.tool.version,
            format="sql",
            roles=tuple(sorted(scanner.definers)),
            charset=self.charset[0],
            collation=self.charset[1],
            largest_statement=scanner.largest[0],
        )
        warnings = tuple(self._list_warnings(scanner, tables))
        return DumpReport(facts, tables, self.selected.excluded, self.migrations, warnings)

    def _list_warnings(self, scanner: DumpScanner, tables: Sequence[Table]) -> Iterator[str]:
        size, table = scanner.largest
        if size >= self.max_packet:
            yield (
                f"{table}: a row takes {megabytes(size)} as SQL, and this server takes {megabytes(self.max_packet)} at "
                f"once (max_allowed_packet). A restore is refused until that is raised: {raise_max_packet(size)}."
            )
        if mismatch := describe_mismatch(self.tool, self.session.vendor, self.session.version):
            yield mismatch
        yield from _describe_losses(self.tool, self.selected)
        if self.selected.without_snapshot:
            yield (
                f"{self.selected.without_snapshot}: no snapshot covers these tables, so the dump may hold part of the "
                "rows written during it. ALTER TABLE ... ENGINE=InnoDB makes them safe."
            )
        if inexact := [table.name for table in tables if not table.exact]:
            yield (
                f"{', '.join(inexact)}: rows were written while the dump began, so their counts are not exact and are "
                "not compared after a restore."
            )


class MySQLDump(Dump):
    """The output of the programs, one after the other. Its end is reported only when all of them have succeeded and
    each dump is complete."""

    def __init__(self, source: _Source, children: Sequence[Child], counter: RowCounter, count: Future[None]) -> None:
        self.stream = self
        self.expected_size = source.size
        self._source, self._alias = source, source.session.alias
        self._child, *self._next_children = children
        self._scanner, self._counter, self._count = counter.scanner, counter, count

    def read(self, size: int = -1) -> bytes:
        block = self._child.stdout.read(size)
        while not block and size != 0 and self._start_next():
            block = self._child.stdout.read(size)
        try:
            self._scanner.feed(block)
        except VerificationFailed as error:
            raise dump_failed(self._alias, str(error)) from error
        if self._scanner.has_begun and not self._next_children:
            self._counter.note_begin()
        return block

    def report(self) -> DumpReport:
        with explain_dump_errors(self._alias):
            self._count.result()
            return self._source.build_report(self._scanner, self._counter.list_counts())

    def _start_next(self) -> bool:
        """Check the program that has ended; return True if another one follows."""
        try:
            with explain_dump_errors(self._alias):
                self._child.wait()
            if not self._scanner.is_complete:
                raise dump_failed(self._alias, "The dump has no end mark: it was cut short")
        except DumpFailed:
            if self._counter.failure:  # the cause of this one
                raise self._counter.failure from None
            raise
        if not self._next_children:
            self._counter.note_end()
            return False
        self._child = self._next_children.pop(0)
        self._scanner.has_begun = False
        return True


@contextmanager
def open_dump(database: Database, selection: Selection) -> Iterator[Dump]:
    """Begin a dump of *database* in one snapshot."""
    alias = database.alias
    options = check_extra_options(selection.extra_options, alias, OPTION_RULES)
    with ExitStack() as stack:
        session = stack.enter_context(connect(database))
        tool = _find_tool(database, session)
        selected = _check_selection(session, selection)
        with explain_dump_errors(alias):
            migrations = schema.read_migrations(session, [table.name for table in selected.tables])
            size, max_packet = schema.estimate_dump_size(session), get_max_packet(session)
            charset = schema.read_charset(session, session.database)
            source = _Source(session, tool, selected, migrations, size, charset, max_packet)
        after = stack.enter_context(connect(database))
        file = stack.enter_context(open_option_file(database, session, tool))
        counter = RowCounter(database, session, after, selected, history=source.has_history)
        with explain_dump_errors(alias):
            open_snapshot(session)
        commands = source.build_argv(file, options)
        children = [
            stack.enter_context(
                Child(argv, secrets=file.secrets, said=remove_row_data, lines=STDERR_LINES, limit=database.dump_timeout)
            )
            for argv in commands
        ]
        count = stack.enter_context(counter.run(children))
        yield MySQLDump(source, children, counter, count)


def check_health(database: Database, selection: Selection) -> Iterator[Finding]:
    """Check, without dumping, the server, its programs, and the privilege to read everything.

    :raises BackupError: a dump would fail.
    """
    alias = database.alias
    check_extra_options(selection.extra_options, alias, OPTION_RULES)
    with connect(database) as session:
        yield Finding(Level.OK, alias, f"{session.server}, {location(database)}, answers")
        tool = _find_tool(database, session)
        if mismatch := describe_mismatch(tool, session.vendor, session.version):
            yield Finding(Level.WARNING, alias, mismatch)
        else:
            yield Finding(Level.OK, alias, f"{tool.name} {tool.version} fits the server")
        try:
            find_tool(CLIENTS, session.vendor, database.tools_dir, f"To restore or drill the database {alias!r}")
        except ToolNotFound as error:  # a backup does not need it
            yield Finding(Level.WARNING, alias, str(error))
        selected = _check_selection(session, selection)
        yield Finding(Level.OK, alias, f"{len(selected.tables)} tables can be read")
        if not selected.included:
            _require_usable_views(session)
        for text in _describe_losses(tool, selected):
            yield Finding(Level.WARNING, alias, text)
        if selected.without_snapshot:
            yield Finding(Level.WARNING, alias, f"no snapshot covers {selected.without_snapshot}: use InnoDB")


def _describe_losses(tool: Tool, selected: SelectedTables) -> Iterator[str]:
    """Describe what the program does not write, and what of it was to be expected."""
    versioned, precise = ", ".join(selected.versioned), ", ".join(selected.transaction_precise)
    if versioned and precise:
        yield (
            f"The history of {versioned} is left out: {precise} keeps it by the numbers of transactions, and "
            f"{tool.name} writes no history of a database with such a table. Columns of type TIMESTAMP(6) have no such "
            "limit."
        )
    elif versioned and not tool.has_option("--dump-history"):
        yield f"{tool.name} {tool.version} leaves out the history of {versioned}."
    if selected.without_own_rows:
        yield f"{selected.without_own_rows}: only the definition is in a backup, since the rows belong to other tables."
    if selected.rounded:
        yield (
            f"{selected.rounded}: the server prints six digits of a FLOAT, so a restore rounds what has more. ALTER "
            "TABLE ... MODIFY ... DOUBLE keeps all of them."
        )


def _require_usable_views(session: Session) -> None:
    """
    :raises DumpFailed: the programs would stop at a view.
    """
    with explain_dump_errors(session.alias):
        for view in list_contents(session, session.database).list_names("view"):
            name = quote_name(session.database, view)
            session.fetch_rows(f"SHOW FIELDS FROM {name}")
            session.fetch_rows(f"SHOW CREATE VIEW {name}")


def _find_tool(database: Database, session: Session) -> Tool:
    return find_tool(DUMP_TOOLS, session.vendor, database.tools_dir, f"To dump the database {database.alias!r}")


def _check_selection(session: Session, selection: Selection) -> SelectedTables:
    """Return the tables to dump, after checking that the user may read everything that a dump holds."""
    if interrupted := staging_schemas.find_unfinished(session):
        raise DatabaseUnavailable(
            f"The database {session.alias!r} is between two states: a restore of it was interrupted "
            f"({interrupted.name}). Finish it: manage.py backup_restore --resume --to {session.alias}"
        )
    with explain_dump_errors(session.alias):
        selected = schema.select_tables(session, selection)
        if not selected.included:
            require_dump_privileges(session)
    return selected
