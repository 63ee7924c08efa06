"""The dump: mariadb-dump's or mysqldump's stream, counted as it passes, while other sessions count beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress

from django_cfg.backup.engines.base import Database, Dump, DumpReport, Selection
from django_cfg.backup.engines.extra_options import check_extra_options
from django_cfg.backup.engines.mysql import schema, staging
from django_cfg.backup.engines.mysql.connection import connected
from django_cfg.backup.engines.mysql.error_text import dump_failed, explaining
from django_cfg.backup.engines.mysql.extra_options import RULES
from django_cfg.backup.engines.mysql.grants import require_whole_view
from django_cfg.backup.engines.mysql.option_file import option_file
from django_cfg.backup.engines.mysql.program import options_for
from django_cfg.backup.engines.mysql.row_counts import Tally
from django_cfg.backup.engines.mysql.schema import Cut
from django_cfg.backup.engines.mysql.session import Session
from django_cfg.backup.engines.mysql.snapshot import Beside, Witness
from django_cfg.backup.engines.mysql.tools import Tool, dump_tool, misfit
from django_cfg.backup.errors import BackupError, DatabaseUnavailable, DumpFailed
from django_cfg.backup.manifest import EngineFacts
from django_cfg.backup.process.child import Child

_ALWAYS = (
    "--single-transaction",
    "--quick",
    "--triggers",
    "--hex-blob",
    "--no-tablespaces",
    "--default-character-set=utf8mb4",
    "--max-allowed-packet=1G",
)
_MYSQL = ("--set-gtid-purged=OFF", "--column-statistics=0")
_AGAIN = 0.2  # seconds between two attempts to end the counting
_LEAVE_OUT = "--ignore-table-data"  # MariaDB's program has it


class MySQLDump(Dump):
    """The program under way, and the counting beside it."""

    def __init__(self, output: _Output, expected_size: int, facts: _Facts) -> None:
        self.stream = output
        self.expected_size = expected_size
        self._output = output
        self._facts = facts

    def report(self) -> DumpReport:
        with explaining(self._facts.alias):
            self._output.counted.result()
            return self._facts.report(self._output.tally, self._output.beside)


class _Output:
    """What the programs write, one after the other. The end is told only when all ended well and the dump is whole."""

    def __init__(self, children: Sequence[Child], tally: Tally, beside: Beside, counted: Future[None], alias: str):
        self.tally, self.beside, self.counted = tally, beside, counted
        self._child, *self._others = children
        self._alias = alias

    def read(self, size: int = -1) -> bytes:
        block = self._child.stdout.read(size)
        while not block and size != 0 and self._next():
            block = self._child.stdout.read(size)
        self.tally.add(block)
        if self.tally.begun and not self._others:
            self.beside.dump_has_begun()
        return block

    def _next(self) -> bool:
        """Whether another program follows the one that has ended."""
        try:
            with explaining(self._alias):
                self._child.wait()
            if not self.tally.is_whole:
                raise dump_failed(self._alias, "The dump has no end mark: it was cut short")
        except DumpFailed:
            if self.beside.failure:  # it came first, and took the dump with it
                raise self.beside.failure from None
            raise
        if not self._others:
            self.beside.dump_is_over()
            return False
        self._child = self._others.pop(0)
        self.tally.begun = False
        return True


class _Facts:
    """What is known of a dump before it begins."""

    def __init__(self, session: Session, tool: Tool, cut: Cut, alias: str) -> None:
        self.alias = alias
        self._session, self._tool, self._cut = session, tool, cut
        self._migrations = schema.last_migrations(session, cut.tables)

    @property
    def history(self) -> bool:
        """Whether the program can dump the past of versioned tables."""
        return self._tool.knows("--dump-history")

    def report(self, tally: Tally, beside: Beside) -> DumpReport:
        engine = EngineFacts(
            vendor=self._session.vendor,
            server_version=self._session.version,
            tool=self._tool.name,
            tool_version=self._tool.version,
            format="sql",
            roles=tuple(sorted(tally.definers)),
        )
        warnings = (*self._warnings(), *_uncertain(beside.oddities()))
        return DumpReport(engine, beside.tables(), self._cut.emptied, self._migrations, warnings)

    def _warnings(self) -> Iterator[str]:
        if told := misfit(self._tool, self._session.vendor, self._session.version):
            yield f"{told}."
        if loose := [f"{table.name} ({table.engine})" for table in self._cut.filled if not table.transactional]:
            yield (
                f"{', '.join(loose)}: no snapshot covers these tables, so rows written during the dump may be in it in "
                "part. ALTER TABLE ... ENGINE=InnoDB makes them safe."
            )
        if not self.history and (versioned := [table.name for table in self._cut.filled if table.versioned]):
            yield f"{self._tool.name} {self._tool.version} leaves out the history of {', '.join(versioned)}."


def _uncertain(names: Sequence[str]) -> list[str]:
    told = "rows were written while the dump began, so their counts are not exact and are not compared after a restore"
    return [f"{', '.join(names)}: {told}."] if names else []


@contextmanager
def dumping(database: Database, selection: Selection) -> Iterator[Dump]:
    """A dump of *database* in one snapshot, counted as it passes."""
    options = check_extra_options(selection.extra_options, database.alias, RULES)
    with ExitStack() as stack:
        session = stack.enter_context(connected(database))
        tool = dump_tool(session.vendor, database.tools_dir, f"To dump the database {database.alias!r}")
        cut = looked_at(session, selection, database.alias)
        with explaining(database.alias):
            facts = _Facts(session, tool, cut, database.alias)
            expected_size = schema.size(session)
        witness = Witness(session, stack.enter_context(connected(database)), facts.history)
        file = stack.enter_context(option_file(options_for(database, session, tool)))
        tally = Tally()
        beside = Beside(witness, cut, tally, database.alias, database.lock_timeout)
        with explaining(database.alias):
            witness.begin()
        command = [tool.path, file.argument, *_ALWAYS, *_fitting(tool), *options]
        children = [
            stack.enter_context(Child([*command, *rest], secrets=file.secrets))
            for rest in _parts(session, tool, cut, history=facts.history)
        ]
        counted = stack.enter_context(_running(beside, children, lambda: witness.cancel(database)))
        yield MySQLDump(_Output(children, tally, beside, counted, database.alias), expected_size, facts)


def looked_at(session: Session, selection: Selection, alias: str) -> Cut:
    """What is to be dumped, all of it open to the user."""
    if interrupted := staging.unfinished(session):
        raise DatabaseUnavailable(
            f"The database {alias!r} is between two states: a restore of it was interrupted ({interrupted.name}). "
            f"Finish it: manage.py backup_restore --resume --to {alias}"
        )
    with explaining(alias):
        cut = schema.cut(session, selection, alias)
        if not cut.included:
            require_whole_view(session, alias)
    return cut


@contextmanager
def _running(beside: Beside, children: Sequence[Child], cancel: Callable[[], None]) -> Iterator[Future[None]]:
    def stop() -> None:
        for child in children:
            child.kill()

    with ThreadPoolExecutor(1) as thread:
        counting = thread.submit(beside.run, stop)
        try:
            yield counting
        except BaseException:
            beside.dump_is_over()
            while not counting.done():  # asked again: between two queries there is nothing to cancel
                with suppress(BackupError):  # the server may be gone; the error that is raised says more
                    cancel()
                wait([counting], _AGAIN)
            raise
        finally:
            beside.dump_is_over()


def _fitting(tool: Tool) -> list[str]:
    return [option for option in _MYSQL if tool.vendor == "mysql" and tool.knows(option.partition("=")[0])]


def _parts(session: Session, tool: Tool, cut: Cut, *, history: bool) -> Iterator[list[str]]:
    """The arguments of one program after the other; two where one cannot leave out rows alone."""
    database = session.database
    past = ["--dump-history"] if history and any(table.versioned for table in cut.filled) else []
    everything = [] if cut.included else ["--routines", "--events"]
    if not cut.emptied:
        yield [*past, *everything, "--", database, *cut.included]
    elif tool.knows(_LEAVE_OUT):
        left_out = [f"{_LEAVE_OUT}={database}.{name}" for name in cut.emptied]
        yield [*past, *everything, *left_out, "--", database, *cut.included]
    else:
        yield ["--no-data", "--", database, *cut.emptied]
        left_out = [f"--ignore-table={database}.{name}" for name in cut.emptied]
        yield [*everything, *left_out, "--", database, *(name for name in cut.included if name not in cut.emptied)]
