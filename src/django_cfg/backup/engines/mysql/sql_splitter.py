"""Splits a dump into its statements and blocks of rows while it passes; the rows of a table are never all in memory.

Inside a value mysqldump and mariadb-dump escape every newline, so the first ``);`` before a newline ends an INSERT.
Everything else is read token by token, since the body of a trigger may hold any text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

END_MARK = b"-- Dump completed"

_SANDBOX = rb"/\*M?!999999\\-[^\n]*\n"  # a command to MariaDB's client, which older clients do not know
_COMMENT = rb"(?:--(?=[\x00-\x20])|#)[^\n]*\n"
_SEPARATOR = re.compile(rb"\s+|" + _SANDBOX + rb"|" + _COMMENT + rb"|DELIMITER (?P<delimiter>\S+)[^\n]*\n")
_UNFINISHED_SEPARATOR = re.compile(
    rb"--(?:[\x00-\x20]|$)|-$|#|/\*M?!999999|D(?:E(?:L(?:I|$)|$)|$)|/(?:\*(?:M?(?:!9*)?)?)?$"
)
_INSERT = re.compile(
    rb"(?:INSERT|REPLACE)(?: +[A-Z]+)* +INTO `(?P<table>(?:[^`]|``)*)`"
    rb"(?: \((?:[^`)]|`(?:[^`]|``)*`)*\))? VALUES(?P<after>\s)"
)
_LAST_ROW = re.compile(rb"\);\n")
_INSERT_WORDS = (b"INSERT ", b"REPLACE ")
_MAX_INSERT_HEAD = 1 << 20  # bytes; 4096 columns with names of 64 characters fit
_DATABASE = re.compile(rb"-- Host: .*?Database: (?P<name>.*)\n")
_SETS_SQL_MODE = re.compile(rb"SET sql_mode\s+=")
_NO_ESCAPES = re.compile(rb"SET sql_mode\s+= '[^']*NO_BACKSLASH_ESCAPES")


@dataclass(frozen=True)
class Statement:
    """A complete statement, except INSERT, without its delimiter."""

    text: bytes


@dataclass(frozen=True)
class Rows:
    """A part of an INSERT: its head, which names the table, or some of its rows. The parts in order are the INSERT.

    The bytes are a slice of what was read and are not copied.
    """

    data: bytes
    start: int
    end: int
    table: str = ""  # in the head
    is_row_per_line: bool = False  # in the head: every row, and nothing else, ends a line

    @property
    def block(self) -> memoryview:
        return memoryview(self.data)[self.start : self.end]

    @property
    def line_ends(self) -> int:
        block = self.data[self.start : self.end]
        return len(block) - len(block.replace(b"\n", b""))  # three times as fast as count, which does not use memchr


class Splitter:
    """Is fed a dump block by block, and returns its parts."""

    def __init__(self) -> None:
        self.database = b""  # that was dumped, by the dump's header
        self.has_ended = False  # the last thing read is the mark that ends a dump
        self.rest = b""  # the bytes that belong to no complete part yet; empty at the end of a complete dump
        self._in_rows = False
        self._delimiter = b";"
        self._escapes = True  # a backslash escapes, in the SQL mode of what follows

    @property
    def is_complete(self) -> bool:
        """Whether what has been fed ends as a dump ends."""
        return self.has_ended and not self.rest

    def feed(self, block: bytes) -> Iterator[Statement | Rows]:
        data, self.rest = self.rest + block if self.rest else block, b""
        at = 0
        while at < len(data):
            part, end = self._read_rows(data, at) if self._in_rows else self._read_next(data, at)
            if part:
                yield part
            if end == at:
                break
            at = end
        self.rest = data[at:]

    def _read_rows(self, data: bytes, at: int) -> tuple[Rows | None, int]:
        if found := _LAST_ROW.search(data, at):
            self._in_rows = False
            return Rows(data, at, found.end()), found.end()
        # The end of the last row may have begun.
        end = len(data) - (2 if data.endswith(b");") else 1 if data.endswith(b")") else 0)
        return (Rows(data, at, end), end) if end > at else (None, at)

    def _read_next(self, data: bytes, at: int) -> tuple[Statement | Rows | None, int]:
        if found := _SEPARATOR.match(data, at):
            self._read_separator(found)
            return None, found.end()
        if _UNFINISHED_SEPARATOR.match(data, at):
            return None, at
        self.has_ended = False
        if data.startswith(_INSERT_WORDS, at) and self._delimiter == b";":
            if head := _INSERT.match(data, at):
                self._in_rows = True
                table = head["table"].replace(b"``", b"`").decode(errors="surrogateescape")
                return Rows(data, *head.span(), table, head["after"] == b"\n"), head.end()
            if len(data) - at < _MAX_INSERT_HEAD:
                return None, at
        return self._read_statement(data, at)

    def _read_separator(self, found: re.Match[bytes]) -> None:
        if delimiter := found["delimiter"]:
            self._delimiter = delimiter
        elif found[0].startswith(END_MARK):
            self.has_ended = True
        elif not self.database and (header := _DATABASE.match(found[0])):
            self.database = header["name"]

    def _read_statement(self, data: bytes, at: int) -> tuple[Statement | None, int]:
        for token in _compile_tokens(self._delimiter, self._escapes).finditer(data, at):
            if token.lastgroup == "opened":
                break  # its end has not come yet
            if token.lastgroup == "delimiter":
                text = data[at : token.start()].rstrip()
                if _SETS_SQL_MODE.search(text):
                    self._escapes = not _NO_ESCAPES.search(text)
                return Statement(text), token.end()
        return None, at


@cache
def _compile_tokens(delimiter: bytes, escapes: bool) -> re.Pattern[bytes]:
    """Match strings and comments, which may hide a delimiter; the delimiter; and the start of what is not closed."""
    strings = (rb"'[^'\\]*(?:\\.[^'\\]*)*'", rb'"[^"\\]*(?:\\.[^"\\]*)*"') if escapes else (rb"'[^']*'", rb'"[^"]*"')
    closed = [*strings, rb"`[^`]*`", rb"--(?=[\x00-\x20])[^\n]*\n", rb"#[^\n]*\n", rb"/\*(?!M?!).*?\*/"]
    opened = rb"['\"`]|--(?:[\x00-\x20]|$)|#|/\*(?!M?!)|[-/]$|/\*M?$"
    pattern = b"|".join((*closed, rb"(?P<opened>%s)" % opened, rb"(?P<delimiter>%s)" % re.escape(delimiter)))
    return re.compile(pattern, re.DOTALL)
