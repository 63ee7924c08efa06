"""What runs beside a dump: the rows are counted, once as before it and once as after its beginning, and a dump that
waits for a lock is not waited for.

The programs take a snapshot of their own and cannot share ours. So one is taken just before theirs and one just after.
Where the rows in the dump can be counted as they pass, that number is exact, if it is no less and no more than both of
these; where they cannot, the number is exact if these two agree.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.mysql import schema
from django_cfg.backup.engines.mysql.connection import connected
from django_cfg.backup.engines.mysql.error_text import dump_failed, explaining
from django_cfg.backup.engines.mysql.row_counts import Tally
from django_cfg.backup.engines.mysql.schema import Cut, Found
from django_cfg.backup.engines.mysql.session import Session
from django_cfg.backup.manifest import Table

_LOOK = 1.0  # seconds between two looks at what the dump waits for
# How the programs begin what they ask of a table.
_ASKED = ("select /*!40001 sql_no_cache */", "show create table", "show fields", "select column_name, extra")
# Of our own user's threads; the others are seen by nobody without PROCESS.
_WAITING = """
SELECT id, state, info FROM information_schema.processlist
WHERE db = %s AND command = 'Query' AND state LIKE 'Waiting for%%' AND time >= %s AND id <> CONNECTION_ID()
"""


@dataclass(frozen=True)
class Witness:
    """Two sessions of our own: the first sees the database as before the dump, the second as after its beginning."""

    before: Session
    after: Session
    history: bool  # the dump holds the past of versioned tables

    def begin(self) -> None:
        _open_snapshot(self.before)

    def cancel(self, database: Database) -> None:
        """End what the two are asking; for that a third is needed."""
        with connected(database) as other:
            for session in (self.before, self.after):
                other.execute(f"KILL QUERY {session.connection.thread_id()}")


class Beside:
    """Counts in a thread of its own as the dump goes on, then watches it."""

    def __init__(self, witness: Witness, cut: Cut, tally: Tally, alias: str, lock_timeout: int) -> None:
        self._witness = witness
        self._cut = cut
        self._tally = tally
        self._alias = alias
        self._lock_timeout = lock_timeout
        self._begun = threading.Event()
        self._over = threading.Event()
        self._before: dict[str, int] = {}
        self._after: dict[str, int] = {}
        self.failure: BaseException | None = None  # what ended the dump, known before that end is seen

    def dump_has_begun(self) -> None:
        self._begun.set()

    def dump_is_over(self) -> None:
        self._over.set()
        self._begun.set()

    def run(self, stop: Callable[[], None]) -> None:
        """Until the dump is over; what fails here stops it."""
        try:
            with explaining(self._alias):
                while not self._begun.wait(_LOOK):
                    self._look()
                if not self._given_up:
                    _open_snapshot(self._witness.after)
                    self._count_all()
                while not self._over.wait(_LOOK):
                    self._look()
        except BaseException as error:
            self.failure = self.failure or error
            stop()
            raise

    @property
    def _given_up(self) -> bool:
        """There is nothing left to count for."""
        return self._over.is_set() and not self._tally.is_whole

    def _count_all(self) -> None:
        for table in self._cut.filled:
            if self._given_up:
                return
            self._before[table.name] = self._count(self._witness.before, table)
            if table.name in self._tally.uncountable:
                self._counted_after(table)

    def tables(self) -> tuple[Table, ...]:
        """What the dump holds, once it is over."""
        return tuple(self._told(table) for table in self._cut.tables)

    def oddities(self) -> list[str]:
        """Tables whose rows in the dump do not fit those that were counted around it, or cannot be told from them."""
        filled = {table.name for table in self._cut.filled}
        return [table.name for table in self.tables() if not table.exact and table.name in filled]

    def _told(self, table: Found) -> Table:
        name = table.name
        if name not in self._before:
            return Table(name=name, rows=0, exact=True)  # its rows were left out
        before = self._before[name]
        if name in self._tally.uncountable:
            agreed = table.transactional and before == self._counted_after(table)
            return Table(name=name, rows=before, exact=agreed)
        held = self._tally.rows.get(name, 0)
        lowest, highest = sorted((before, before if held == before else self._counted_after(table)))
        return Table(name=name, rows=held, exact=lowest <= held <= highest)

    def _counted_after(self, table: Found) -> int:
        if table.name not in self._after:
            self._after[table.name] = self._count(self._witness.after, table)
        return self._after[table.name]

    def _count(self, session: Session, table: Found) -> int:
        number = schema.count(session, table, history=self._witness.history)
        session.execute("ROLLBACK TO SAVEPOINT counting")  # a migration shall not wait for us
        return number

    def _look(self) -> None:
        """
        :raises DumpFailed: the dump has been waiting for a lock as long as it may.
        """
        session = self._witness.before
        for thread, state, asked in session.rows(_WAITING, [session.database, self._lock_timeout]):
            if str(asked).lower().startswith(_ASKED):
                self.failure = dump_failed(self._alias, f"Lock timeout: {state} for {self._lock_timeout} s: {asked}")
                session.execute(f"KILL {thread}")  # it would go on waiting without its client
                raise self.failure


def _open_snapshot(session: Session) -> None:
    session.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT", "SAVEPOINT counting")
