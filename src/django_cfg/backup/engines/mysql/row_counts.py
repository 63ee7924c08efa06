"""Counts the rows of the tables in parallel with a dump, and ends a dump that waits for a lock.

The programs take a snapshot of their own and cannot share ours. So one of ours is taken just before theirs, and one
just after. Where the rows of the dump can be counted as they pass, that count is exact if it is not outside the range
of these two; where they cannot, the count is exact if these two agree.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.mysql import schema
from django_cfg.backup.engines.mysql.connection import connect
from django_cfg.backup.engines.mysql.dump_scanner import DumpScanner
from django_cfg.backup.engines.mysql.error_advice import dump_failed, explain_dump_errors
from django_cfg.backup.engines.mysql.schema import SelectedTables, TableInfo
from django_cfg.backup.engines.mysql.session import Session
from django_cfg.backup.errors import BackupError
from django_cfg.backup.manifest import Table
from django_cfg.backup.process.child import Child

_CHECK_INTERVAL = 1.0  # seconds between checks for locks that the dump waits for
_CANCEL_INTERVAL = 0.2  # seconds between attempts to end the count
# How the queries of the programs begin.
_DUMP_QUERIES = ("select /*!40001 sql_no_cache */", "show create table", "show fields", "select column_name, extra")
# Of the threads of our own user; without PROCESS others are not listed.
_WAITING = """
SELECT id, state, info FROM information_schema.processlist
WHERE db = %s AND command = 'Query' AND state LIKE 'Waiting for%%' AND time >= %s AND id <> CONNECTION_ID()
"""


class RowCounter:
    """Counts in a thread of its own, in a snapshot of the time *before* the dump and in one of the time *after* its
    beginning.

    :param history: the dump holds the past of system-versioned tables.
    """

    def __init__(
        self, database: Database, before: Session, after: Session, selected: SelectedTables, *, history: bool
    ) -> None:
        self.scanner = DumpScanner()
        self.failure: BaseException | None = None  # what ended the dump, known before that end is noticed
        self._database, self._before, self._after = database, before, after
        self._selected, self._history = selected, history
        self._dump_has_begun, self._dump_has_ended = threading.Event(), threading.Event()
        self._counts_before: dict[str, int] = {}
        self._counts_after: dict[str, int] = {}

    @contextmanager
    def run(self, children: Sequence[Child]) -> Iterator[Future[None]]:
        """Count during the block, in which *children* dump; an error of the count kills them."""
        with ThreadPoolExecutor(1) as thread:
            count = thread.submit(self._run, children)
            try:
                yield count
            except BaseException:
                self.note_end()
                while not count.done():  # repeated: between two queries there is nothing to cancel
                    with suppress(BackupError), connect(self._database) as other:  # the server may be gone
                        for session in (self._before, self._after):
                            other.execute(f"KILL QUERY {session.connection.thread_id()}")
                    wait([count], _CANCEL_INTERVAL)
                raise
            finally:
                self.note_end()

    def note_begin(self) -> None:
        """The dump has taken its snapshot."""
        self._dump_has_begun.set()

    def note_end(self) -> None:
        self._dump_has_ended.set()
        self._dump_has_begun.set()

    def list_counts(self) -> tuple[Table, ...]:
        """Return the tables of the dump, after its end."""
        return tuple(self._compare_counts(table) for table in self._selected.tables)

    def _run(self, children: Sequence[Child]) -> None:
        try:
            with explain_dump_errors(self._database.alias):
                while not self._dump_has_begun.wait(_CHECK_INTERVAL):
                    self._check_locks()
                if not self._is_given_up:
                    open_snapshot(self._after)
                    self._count_all()
                while not self._dump_has_ended.wait(_CHECK_INTERVAL):
                    self._check_locks()
        except BaseException as error:
            self.failure = self.failure or error
            for child in children:
                child.kill()
            raise

    @property
    def _is_given_up(self) -> bool:
        return self._dump_has_ended.is_set() and not self.scanner.is_complete

    def _count_all(self) -> None:
        for table in self._selected.filled:
            if self._is_given_up:
                return
            self._counts_before[table.name] = self._count(self._before, table)
            if table.name in self.scanner.uncountable:
                self._count_after(table)

    def _compare_counts(self, table: TableInfo) -> Table:
        name = table.name
        if name not in self._counts_before:
            return Table(name=name, rows=0, exact=True)  # its rows were left out
        before = self._counts_before[name]
        if name in self.scanner.uncountable:
            is_exact = table.is_transactional and before == self._count_after(table)
            return Table(name=name, rows=before, exact=is_exact)
        dumped = self.scanner.rows.get(name, 0)
        lowest, highest = sorted((before, before if dumped == before else self._count_after(table)))
        return Table(name=name, rows=dumped, exact=lowest <= dumped <= highest)

    def _count_after(self, table: TableInfo) -> int:
        if table.name not in self._counts_after:
            self._counts_after[table.name] = self._count(self._after, table)
        return self._counts_after[table.name]

    def _count(self, session: Session, table: TableInfo) -> int:
        number = schema.count_rows(session, table, history=self._history)
        session.execute("ROLLBACK TO SAVEPOINT counting")  # releases the lock for which a migration would wait
        return number

    def _check_locks(self) -> None:
        """Raise DumpFailed if the dump has waited for a lock for as long as lock_timeout."""
        session, timeout = self._before, self._database.lock_timeout
        for thread, state, query in session.fetch_rows(_WAITING, [session.database, timeout]):
            if str(query).lower().startswith(_DUMP_QUERIES):
                text = f"Lock timeout: {state} for {timeout} s: {query}"
                self.failure = dump_failed(session.alias, text)
                session.execute(f"KILL {thread}")  # it would go on waiting without its client
                raise self.failure


def open_snapshot(session: Session) -> None:
    session.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT", "SAVEPOINT counting")
