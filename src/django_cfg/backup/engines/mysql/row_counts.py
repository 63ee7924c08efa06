"""Counting the rows that a dump holds, on their way into storage."""

from __future__ import annotations

from django_cfg.backup.engines.mysql.sql_splitter import Rows, Splitter, Statement
from django_cfg.backup.engines.mysql.stored_code.parser import definer
from django_cfg.backup.engines.mysql.versions import Wanted


class Tally:
    """Fed with the dump; knows what has passed."""

    def __init__(self) -> None:
        self.begun = False  # the first table has come: the dump's snapshot is taken
        self.rows: dict[str, int] = {}
        self.uncountable: set[str] = set()  # tables whose rows share a line, as mysqldump writes all of them
        self.definers: set[str] = set()
        self.wanted = Wanted()
        self._splitter = Splitter()
        self._table = ""

    def add(self, block: bytes) -> None:
        for piece in self._splitter.feed(block):
            if isinstance(piece, Rows):
                self._count(piece)
            else:
                self._look(piece)

    @property
    def is_whole(self) -> bool:
        """Whether what has passed ends as a dump ends."""
        return self._splitter.complete and not self._splitter.rest

    def _count(self, piece: Rows) -> None:
        if piece.table:
            self._table = piece.table
            self.rows.setdefault(piece.table, 0)
            if not piece.a_row_a_line:
                self.uncountable.add(piece.table)
        else:
            self.rows[self._table] += piece.lines

    def _look(self, statement: Statement) -> None:
        self.begun |= statement.text.startswith((b"CREATE ", b"DROP "))
        self.wanted.look(statement)
        if found := definer(statement.text):
            self.definers.add(found)
