"""What can be learned of a dump while it passes: rows, definers, character sets, and whether it is complete."""

from __future__ import annotations

import re

from django_cfg.backup.engines.mysql.sql_splitter import Rows, Splitter, Statement
from django_cfg.backup.engines.mysql.stored_code.parser import find_definer

_WITH_CHARSETS = (b"CREATE TABLE", b"ALTER DATABASE", b"SET ")
_VERSION_COMMENT = re.compile(rb"\s*/\*M?!\d*\s*")
_QUOTED = re.compile(rb"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`[^`]*`", re.DOTALL)
_COLLATION = re.compile(rb"\b(?:COLLATE|collation_connection)(?:\s*=\s*|\s+)(\w+)", re.IGNORECASE)
_CHARSET = re.compile(rb"\b(?:CHARSET|CHARACTER SET|character_set_client)(?:\s*=\s*|\s+)(\w+)", re.IGNORECASE)


class DumpScanner:
    """Is fed a dump block by block; its attributes describe what has passed."""

    def __init__(self) -> None:
        self.has_begun = False  # the first table has passed: the program has taken its snapshot
        self.rows: dict[str, int] = {}
        self.largest: tuple[int, str] = 0, ""  # the bytes of the largest INSERT, and its table
        self.uncountable: set[str] = set()  # tables with many rows on a line, as mysqldump writes all of them
        self.definers: set[str] = set()
        self.charsets: set[str] = set()
        self.collations: set[str] = set()
        self._splitter = Splitter()
        self._table, self._size = "", 0

    @property
    def is_complete(self) -> bool:
        return self._splitter.is_complete

    def feed(self, block: bytes) -> None:
        for part in self._splitter.feed(block):
            if isinstance(part, Rows):
                self._scan_rows(part)
            else:
                self._scan_statement(part)

    def _scan_rows(self, part: Rows) -> None:
        self._size = part.end - part.start + (0 if part.table else self._size)
        self.largest = max(self.largest, (self._size, part.table or self._table))
        if not part.table:
            self.rows[self._table] += part.line_ends
            return
        self._table = part.table
        self.rows.setdefault(part.table, 0)
        if not part.is_row_per_line:
            self.uncountable.add(part.table)

    def _scan_statement(self, statement: Statement) -> None:
        text = statement.text
        self.has_begun |= text.startswith((b"CREATE ", b"DROP "))
        if definer := find_definer(text):
            self.definers.add(definer)
        comment = _VERSION_COMMENT.match(text)
        if text.startswith(_WITH_CHARSETS, comment.end() if comment else 0):
            unquoted = _QUOTED.sub(b"''", text)
            self.charsets.update(name.decode() for name in _CHARSET.findall(unquoted))
            self.collations.update(name.decode() for name in _COLLATION.findall(unquoted))
