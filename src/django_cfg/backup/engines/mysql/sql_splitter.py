"""Reading a dump as it flows: its statements one by one, its rows in blocks that are never held as a whole.

What lies between is known of every dump that mysqldump and mariadb-dump write: inside a value a newline is always
escaped, so the first ``);`` before a newline ends an INSERT. Everything else is read token by token, since a trigger's
text may hold anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

END_MARK = b"-- Dump completed"

_SANDBOX = rb"/\*M?!999999\\-[^\n]*\n"  # speaks to the client, and an older one stumbles over it
_COMMENT = rb"(?:--(?=[\x00-\x20])|#)[^\n]*\n"
_BETWEEN = re.compile(rb"\s+|" + _SANDBOX + rb"|" + _COMMENT + rb"|DELIMITER (?P<delimiter>\S+)[^\n]*\n")
_UNFINISHED = re.compile(rb"--(?:[\x00-\x20]|$)|-$|#|/\*M?!999999|D(?:E(?:L(?:I|$)|$)|$)|/(?:\*(?:M?(?:!9*)?)?)?$")
_HEAD = re.compile(
    rb"(?:INSERT|REPLACE)(?: +[A-Z]+)* +INTO `(?P<table>(?:[^`]|``)*)`"
    rb"(?: \((?:[^`)]|`(?:[^`]|``)*`)*\))? VALUES(?P<after>\s)"
)
_LAST_ROW = re.compile(rb"\);\n")
_INSERTS = (b"INSERT ", b"REPLACE ")
_LONGEST_HEAD = 1 << 20  # bytes; 4096 columns with names of 64 characters fit
_DATABASE = re.compile(rb"-- Host: .*?Database: (?P<name>.*)\n")
_NO_ESCAPES = re.compile(rb"SET sql_mode\s+= '[^']*NO_BACKSLASH_ESCAPES")
_ESCAPES = re.compile(rb"SET sql_mode\s+=")


@dataclass(frozen=True)
class Statement:
    """A whole statement that brings no rows, without its delimiter."""

    text: bytes


@dataclass(frozen=True)
class Rows:
    """A part of an INSERT: its beginning, which names the table, or some of its rows; the parts make it up again.

    The bytes are a piece of what was read and are not copied.
    """

    data: bytes
    start: int
    end: int
    table: str = ""  # at the beginning
    a_row_a_line: bool = False  # at the beginning: every row, and nothing else, ends a line

    @property
    def block(self) -> memoryview:
        return memoryview(self.data)[self.start : self.end]

    @property
    def lines(self) -> int:
        """How many lines end here."""
        held = self.data[self.start : self.end]
        return len(held) - len(held.replace(b"\n", b""))  # three times as fast as count, which does not use memchr


class Splitter:
    """Takes a dump block by block and gives what it is made of."""

    def __init__(self) -> None:
        self.database = b""  # whose dump it is, as its header tells
        self.complete = False  # the last thing read is the mark that ends a dump
        self._held = b""
        self._in_rows = False
        self._delimiter = b";"
        self._escapes = True  # a backslash escapes, in the SQL mode of what comes next

    def feed(self, block: bytes) -> Iterator[Statement | Rows]:
        data, self._held = self._held + block if self._held else block, b""
        at = 0
        while at < len(data):
            piece, end = self._rows(data, at) if self._in_rows else self._next(data, at)
            if piece:
                yield piece
            if end == at:
                break
            at = end
        self._held = data[at:]

    @property
    def rest(self) -> bytes:
        """What has been fed and belongs to nothing that is whole; empty at the end of a good dump."""
        return self._held

    def _rows(self, data: bytes, at: int) -> tuple[Rows | None, int]:
        if found := _LAST_ROW.search(data, at):
            self._in_rows = False
            return Rows(data, at, found.end()), found.end()
        end = len(data) - _begun(data)
        return (Rows(data, at, end), end) if end > at else (None, at)

    def _next(self, data: bytes, at: int) -> tuple[Statement | Rows | None, int]:
        if found := _BETWEEN.match(data, at):
            self._note(found)
            return None, found.end()
        if _UNFINISHED.match(data, at):
            return None, at
        self.complete = False
        if data.startswith(_INSERTS, at) and self._delimiter == b";":
            if head := _HEAD.match(data, at):
                return self._beginning(data, head)
            if len(data) - at < _LONGEST_HEAD:
                return None, at
        return self._statement(data, at)

    def _note(self, found: re.Match[bytes]) -> None:
        if delimiter := found["delimiter"]:
            self._delimiter = delimiter
        elif found[0].startswith(END_MARK):
            self.complete = True
        elif not self.database and (header := _DATABASE.match(found[0])):
            self.database = header["name"]

    def _beginning(self, data: bytes, head: re.Match[bytes]) -> tuple[Rows, int]:
        self._in_rows = True
        start, end = head.span()
        return Rows(data, start, end, unquoted(head["table"]), head["after"] == b"\n"), end

    def _statement(self, data: bytes, at: int) -> tuple[Statement | None, int]:
        for token in _tokens(self._delimiter, self._escapes).finditer(data, at):
            if token.lastgroup == "opened":
                break  # the rest of it has not come yet
            if token.lastgroup == "delimiter":
                text = data[at : token.start()].rstrip()
                if _ESCAPES.search(text):
                    self._escapes = not _NO_ESCAPES.search(text)
                return Statement(text), token.end()
        return None, at


def _begun(data: bytes) -> int:
    """How many bytes at the end of *data* may be the beginning of a last row's end."""
    return 2 if data.endswith(b");") else 1 if data.endswith(b")") else 0


def unquoted(name: bytes) -> str:
    """The name that stands between backticks."""
    return name.replace(b"``", b"`").decode(errors="surrogateescape")


_compiled: dict[tuple[bytes, bool], re.Pattern[bytes]] = {}


def _tokens(delimiter: bytes, escapes: bool) -> re.Pattern[bytes]:
    """What may hide a delimiter, the delimiter itself, and what has been opened and not closed."""
    if (delimiter, escapes) not in _compiled:
        strings = (
            (rb"'[^'\\]*(?:\\.[^'\\]*)*'", rb'"[^"\\]*(?:\\.[^"\\]*)*"') if escapes else (rb"'[^']*'", rb'"[^"]*"')
        )
        closed = [*strings, rb"`[^`]*`", rb"--(?=[\x00-\x20])[^\n]*\n", rb"#[^\n]*\n", rb"/\*(?!M?!).*?\*/"]
        opened = rb"['\"`]|--(?:[\x00-\x20]|$)|#|/\*(?!M?!)|[-/]$|/\*M?$"
        pattern = b"|".join((*closed, rb"(?P<opened>%s)" % opened, rb"(?P<delimiter>%s)" % re.escape(delimiter)))
        _compiled[delimiter, escapes] = re.compile(pattern, re.DOTALL)
    return _compiled[delimiter, escapes]
