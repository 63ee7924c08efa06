"""Splits a dump into its statements and blocks of rows while it passes; the rows of a table are never all in memory.

Inside a value mysqldump and mariadb-dump escape every newline, so the first ``);`` before a newline ends an INSERT.
Everything else is read token by token, since the body of a trigger may hold any text. Every byte is read once, however
a dump is cut into blocks, and what is kept in memory has a limit: text without an end is no dump.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from django_cfg.backup.errors import VerificationFailed

END_MARK = b"-- Dump completed"

_SANDBOX = rb"/\*M?!999999\\-[^\n]*\n"  # a command to MariaDB's client, which older clients do not know
_COMMENT = rb"(?:--(?=[\x00-\x20])|#)[^\n]*\n"
_SEPARATOR = re.compile(rb"\s+|" + _SANDBOX + rb"|" + _COMMENT + rb"|DELIMITER (?P<delimiter>\S+)[^\n]*\n")
_UNFINISHED_SEPARATOR = re.compile(
    rb"--(?:[\x00-\x20]|$)|-$|#|/\*M?!999999|D(?:E(?:L(?:I|$)|$)|$)|/(?:\*(?:M?(?:!9*)?)?)?$"
)
_INSERT = re.compile(
    rb"(?:INSERT|REPLACE)(?: +[A-Z]+)* +INTO `(?P<table>(?:[^`]|``)*)`"
    rb"(?: \((?:[^`)]|`[^`]*`)*+\))? VALUES(?P<after>\s)"
)
_INSERT_END = b");\n"
_MAX_SEMICOLONS = 1000
_PIECE = 64 << 10  # bytes
_INSERT_WORDS = (b"INSERT ", b"REPLACE ")
_MAX_INSERT_HEAD = 1 << 20  # bytes; 4096 columns with names of 64 characters fit
# Bytes of a statement that is not an INSERT: a definition. The rows of an INSERT are passed on as they come and have no
# limit, since a row may take max_allowed_packet, up to 1 GB.
MAX_STATEMENT = 64 << 20
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
        """The number of newlines.

        ``replace`` finds them by memchr, ``count`` reads byte by byte. Piece by piece, since a copy of a large block
        takes fresh pages from the system each time, which costs more than the search.
        """
        pieces = (self.data[at : min(at + _PIECE, self.end)] for at in range(self.start, self.end, _PIECE))
        return sum(len(piece) - len(piece.replace(b"\n", b"")) for piece in pieces)


class Splitter:
    """Is fed a dump block by block, and returns its parts."""

    def __init__(self) -> None:
        self.database = b""  # that was dumped, by the dump's header
        self.has_ended = False  # the last thing read is the mark that ends a dump
        self.rest = bytearray()  # what belongs to no complete part yet; empty at the end of a complete dump
        self._statement: _StatementEnd | None = None  # the search for the end of the statement in ``rest``
        self._in_rows = False
        self._delimiter = b";"
        self._escapes = True  # a backslash escapes, in the SQL mode of what follows

    @property
    def is_complete(self) -> bool:
        """Whether what has been fed ends as a dump ends."""
        return self.has_ended and not self.rest

    def feed(self, block: bytes) -> Iterator[Statement | Rows]:
        """Yield the parts that *block* completes.

        :raises VerificationFailed: a statement has no end within ``MAX_STATEMENT``.
        """
        if self._statement:
            self.rest += block
            if not self._statement.find(self.rest):
                self._refuse_endless()
                return
            data = bytes(self.rest)
        else:
            data = bytes(self.rest) + block if self.rest else block
        self.rest = bytearray()
        at = 0
        while at < len(data):
            part, end = self._read_rows(data, at) if self._in_rows else self._read_next(data, at)
            if part:
                yield part
            if end == at:
                break
            at = end
        self.rest += data[at:]
        self._refuse_endless()

    def _refuse_endless(self) -> None:
        what, limit = ("statement", MAX_STATEMENT) if self._statement else ("comment", _MAX_INSERT_HEAD)
        if len(self.rest) > limit:
            raise VerificationFailed(
                f"A {what} has no end within {limit >> 20} MiB, so this is no output of mariadb-dump or mysqldump"
            )

    def _read_rows(self, data: bytes, at: int) -> tuple[Rows | None, int]:
        if end := _find_insert_end(data, at):
            self._in_rows = False
            return Rows(data, at, end), end
        # The end of the last row may have begun.
        end = len(data) - (2 if data.endswith(b");") else 1 if data.endswith(b")") else 0)
        return (Rows(data, at, end), end) if end > at else (None, at)

    def _read_next(self, data: bytes, at: int) -> tuple[Statement | Rows | None, int]:
        if self._statement:
            return self._read_statement(data, at)
        if found := _SEPARATOR.match(data, at):
            self._read_separator(found)
            return None, found.end()
        if _UNFINISHED_SEPARATOR.match(data, at) or any(word.startswith(data[at : at + 8]) for word in _INSERT_WORDS):
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
        statement = self._statement or _StatementEnd(self._delimiter, self._escapes, at)
        found = statement.find(data)
        if not found:
            statement.move(-at)  # it will begin what is kept
            self._statement = statement
            return None, at
        self._statement = None
        start, end = found
        text = data[at:start].rstrip()
        if _SETS_SQL_MODE.search(text):
            self._escapes = not _NO_ESCAPES.search(text)
        return Statement(text), end


def _find_insert_end(data: bytes, at: int) -> int:
    """Return where the INSERT ends whose rows are at *at*; 0: not in *data*.

    Semicolons are rare in rows, and one byte is found ten times as fast as three; where they are not, three are
    searched for.
    """
    semicolon = at
    for _ in range(_MAX_SEMICOLONS):
        semicolon = data.find(b";", semicolon + 1)
        if semicolon < 0:
            return 0
        if data.startswith(_INSERT_END, semicolon - 1):
            return semicolon + 2
    found = data.find(_INSERT_END, semicolon)
    return found + len(_INSERT_END) if found >= 0 else 0


class _StatementEnd:
    """Searches for the delimiter that ends a statement, and goes on where it has stopped when more has been read.

    :param at: where the statement begins.
    """

    def __init__(self, delimiter: bytes, escapes: bool, at: int) -> None:
        self._skipped, self._token = _compile_text(delimiter, escapes), _compile_tokens(delimiter)
        self._escapes = escapes
        self._at = at  # everything before has been read
        self._opened = b""  # the string or comment in which that is

    def find(self, data: bytes | bytearray) -> tuple[int, int] | None:
        """Return the start and end of the delimiter; None: *data* has to be longer."""
        while not self._opened or self._close(data):
            if text := self._skipped.match(data, self._at):
                self._at = text.end()
            token = self._token.match(data, self._at)
            if not token:
                return None
            if token.lastgroup == "delimiter":
                return token.span()
            self._at, self._opened = token.end(), token[0]
        return None

    def move(self, by: int) -> None:
        self._at += by

    def _close(self, data: bytes | bytearray) -> bool:
        """Read to the end of the string or comment; return False if *data* has to be longer."""
        has_escapes = self._escapes and self._opened in _ESCAPED
        if has_escapes and (body := _ESCAPED[self._opened].match(data, self._at)):
            self._at = body.end()
        end = _ENDS.get(self._opened, self._opened)
        found = data.find(end, self._at)
        if found < 0:  # the beginning of the end may be the last byte; so may a backslash
            self._at = self._at if has_escapes else max(self._at, len(data) - len(end) + 1)
            return False
        self._at, self._opened = found + len(end), b""
        return True


# What ends a comment; a string ends with the character that begins it.
_ENDS = {b"--": b"\n", b"#": b"\n", b"/*": b"*/"}
_ESCAPED = {quote: re.compile(rb"(?:[^\\%b]++|\\.)*+" % quote, re.DOTALL) for quote in (b"'", b'"')}


@cache
def _compile_text(delimiter: bytes, escapes: bool) -> re.Pattern[bytes]:
    """Match text with its strings and comments, up to the delimiter, or to what is not closed or not complete.

    Possessive, so that the time grows with the text.
    """
    strings = (rb"'(?:[^'\\]++|\\.)*+'", rb'"(?:[^"\\]++|\\.)*+"') if escapes else (rb"'[^']*+'", rb'"[^"]*+"')
    comments = (rb"--(?=[\x00-\x20])[^\n]*+\n", rb"#[^\n]*+\n", rb"/\*(?=M[^!]|[^M!])(?>.*?\*/)")
    first, length = re.escape(delimiter[:1]), len(delimiter) - 1
    others = [rb"-(?=[^-]|-[^\x00-\x20])", rb"/(?=[^*])", rb"/\*(?=!|M!)"]
    if delimiter[:1] not in b"-/":
        others.append(rb"%b(?=.{%d})" % (first, length))
    plain = rb"[^'\"`#/%b-]++" % first
    special = rb"(?!%b)(?:%b)" % (re.escape(delimiter), b"|".join(others))
    return re.compile(b"(?:%b)*+" % b"|".join((plain, *strings, rb"`[^`]*+`", *comments, special)), re.DOTALL)


@cache
def _compile_tokens(delimiter: bytes) -> re.Pattern[bytes]:
    """Match the delimiter, or the start of a string or comment."""
    opened = rb"['\"`#]|--(?=[\x00-\x20])|/\*(?=M[^!]|[^M!])"
    return re.compile(b"%b|(?P<delimiter>%b)" % (opened, re.escape(delimiter)))
