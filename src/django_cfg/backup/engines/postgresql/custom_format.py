"""pg_dump's custom format, checked while it passes: is the dump complete, whatever the exit code says?

A wrapper that loses the exit code (``ssh ... | cat``), a full disk or a bad proxy hands on a cut or zeroed dump and
ends well. The layout is that of PostgreSQL's ``pg_backup_archiver.c`` and ``pg_backup_custom.c``: a header, a table of
contents, then one block of data for each entry that has any. A block is a chain of chunks, each after its length; the
length 0 ends it. Uncompressed, each row is a chunk. A walk over millions of rows costs more than all the rest of a
backup, so blocks of COPY are searched for their end, and their chain is walked in samples.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Generator, Iterable
from dataclasses import dataclass, field
from itertools import islice

from django_cfg.backup.engines.postgresql.schema import TableName, unquote_name
from django_cfg.backup.errors import DumpFailed, RestoreRefused, VerificationFailed
from django_cfg.backup.pipeline.stream import Readable

_OLDEST, _NEWEST = (1, 12), (1, 16)  # versions of the format that are read here: pg_dump 9.0 to 18
_MAX_TEXT = 1 << 20  # bytes of a name or a description
_COPY_END = b"\\.\n\n\n" + bytes(5)  # the last chunk of a table's rows, and the length that ends the block
_SEAM = len(_COPY_END) - 1
_ZEROS = bytes(64)  # COPY's text holds no zero, a length at most four in a row
_NEXT_ROW = b"\n\0"  # the end of a row, and the sign of the next length
_NO_LENGTH = 8  # bytes without a zero that no length can end
_SAMPLE_EVERY = 1 << 16  # bytes
_SAMPLE = 6  # rows
_TABLE_BLOCK, _LARGE_OBJECTS_BLOCK = 1, 3

_NAMES_ROLES = ("ACL", "DEFAULT ACL", "POLICY", "USER MAPPING")  # kinds of entries
_NAME = r'(?:"(?:[^"]|"")*"|[^\s",;()]+)'
_ROLE = re.compile(_NAME)
_GRANTED = re.compile(rf"\b(?:TO|FROM|FOR ROLE|MAPPING FOR) ({_NAME}(?:, {_NAME})*)")
_CONDITION = re.compile(r" (?:USING|WITH CHECK) \(")

_Parser = Generator[None, bytes, None]


class _Damaged(Exception):
    pass


@dataclass
class DumpContents:
    """What the beginning of a dump says of it."""

    server_version: str = ""
    tool_version: str = ""
    tables: int = 0  # that it defines
    filled: set[str] = field(default_factory=set)  # tables whose rows it holds, with their schemas
    roles: set[str] = field(default_factory=set)  # that own something in it or are granted something


class CustomFormatReader:
    """A reader of *source*, the output of pg_dump, that raises as soon as it cannot be a complete dump.

    :param tables: those of which the dump has to hold the rows.
    """

    def __init__(self, source: Readable, tables: Collection[TableName], alias: str) -> None:
        self._source, self._alias = source, alias
        self._check = _Check(tables)
        self._parser = self._check.run()
        next(self._parser)
        self._is_over = False

    @property
    def unknown_version(self) -> str:
        """The version of a format that is newer than the ones known here, so that nothing was checked; else empty."""
        return self._check.unknown_version

    def read(self, size: int = -1) -> bytes:
        """
        :raises DumpFailed: what has passed so far is no part of a dump.
        """
        block = self._source.read(size)
        if block:
            self._feed(block)
        return block

    def check_end(self) -> None:
        """
        :raises DumpFailed: what has passed ends too early.
        """
        self._feed(b"")

    def _feed(self, block: bytes) -> None:
        if self._is_over:
            return
        try:
            self._parser.send(block)
        except StopIteration:
            self._is_over = True
        except _Damaged as error:
            raise DumpFailed(
                f"The dump of the database {self._alias!r} failed: pg_dump's output {error}. Nothing was published. "
                "If tools_dir holds a script that runs pg_dump somewhere else, it has to hand on every byte and the "
                "exit code (in bash: set -o pipefail)."
            ) from None


def measure_contents(blocks: Iterable[bytes]) -> int | None:
    """Return how many of the bytes in *blocks*, the beginning of a dump, come before its first data.

    None: its format is not known here.
    """
    check, size = _Check(()), 0
    parser = check.run_to_data()
    try:
        next(parser)
        for block in blocks:
            size += len(block)
            parser.send(block)
    except StopIteration:
        return None if check.unknown_version else size - check.unread
    except _Damaged:
        pass
    return None


def read_contents(blocks: Iterable[bytes], name: str) -> DumpContents:
    """Read of *blocks*, the dump *name*, what comes before the first data.

    :raises VerificationFailed: it is damaged.
    :raises RestoreRefused: its format is not known here.
    """
    check = _Check(())
    parser = check.run_to_data()
    try:
        next(parser)
        for block in blocks:
            parser.send(block)
        parser.send(b"")
    except StopIteration:
        if check.unknown_version:
            raise RestoreRefused(
                f"{name} has version {check.unknown_version} of pg_dump's custom format, which this version of "
                "django-cfg-backup does not know: upgrade it."
            ) from None
    except _Damaged as error:
        raise VerificationFailed(f"{name} is no complete dump: it {error}.") from None
    return check.contents


class _Check:
    """The parser. Its generator is sent the stream's pieces, at last b""."""

    unknown_version = ""

    def __init__(self, tables: Collection[TableName]) -> None:
        self._tables = tables
        self._buffer, self._position = b"", 0
        self._integer_size = self._offset_size = 0
        self.contents = DumpContents()
        self._is_copied: dict[int, bool] = {}  # by entry that has data: rows as COPY's text?

    @property
    def unread(self) -> int:
        """The bytes that it has got and not read yet."""
        return len(self._buffer) - self._position

    def run(self) -> _Parser:
        yield from self.run_to_data()
        if self.unknown_version:
            return
        while (yield from self._has_more()):
            yield from self._read_block()
        if self._is_copied:
            raise _Damaged(f"ends before the data of {len(self._is_copied)} entries of its table of contents")

    def run_to_data(self) -> _Parser:
        version = yield from self._read_header()
        if version > _NEWEST:
            self.unknown_version = ".".join(map(str, version))
        else:
            yield from self._read_contents(version)

    def _read_header(self) -> Generator[None, bytes, tuple[int, int]]:
        head = yield from self._take(5)
        if head != b"PGDMP":
            raise _Damaged("is not in its custom format: it does not begin with PGDMP")
        major, minor, _, self._integer_size, self._offset_size, kind = yield from self._take(6)
        version = (major, minor)
        if version < _OLDEST or kind != 1 or not 4 <= self._integer_size <= 8 or self._offset_size > 8:
            raise _Damaged("has a damaged header")
        if version <= _NEWEST:
            if version >= (1, 15):
                yield from self._take(1)  # the method of compression
            else:
                yield from self._integer()  # its level
            for _ in range(7):
                yield from self._integer()  # when it was made
            yield from self._text()  # the database
            self.contents.server_version = yield from self._text()
            self.contents.tool_version = yield from self._text()
        return version

    def _read_contents(self, version: tuple[int, int]) -> _Parser:
        found: set[tuple[str, str]] = set()
        tables = 0
        for _ in range((yield from self._integer())):
            number = yield from self._integer()
            has_data = yield from self._integer()
            yield from self._skip_texts(2)  # of the catalogue
            tag = yield from self._text()
            kind = yield from self._text()
            yield from self._integer()  # the section
            yield from self._read_roles(kind)  # in the text that creates it
            yield from self._skip_text()  # to drop it
            is_copied = yield from self._skip_text()
            schema = yield from self._text()
            yield from self._skip_texts(1 + (version >= (1, 14)))  # the tablespace, the access method
            if version >= (1, 16):
                yield from self._integer()  # the kind of relation
            self.contents.roles.add((yield from self._text()))  # the owner
            yield from self._skip_text()  # whether it has OIDs
            while (yield from self._skip_text()):
                pass  # what it depends on
            yield from self._take(1 + self._offset_size)  # where its data is: not known in a stream
            if has_data:
                self._is_copied[number] = is_copied
            if has_data and kind == "TABLE DATA":
                found.add((schema, tag))
                tables += 1
            self.contents.tables += kind == "TABLE"
        self.contents.filled = {f"{schema}.{tag}" for schema, tag in found}
        self.contents.roles.discard("")
        self._require_tables(found, tables)

    def _require_tables(self, found: set[tuple[str, str]], count: int) -> None:
        """Compare by name where every encoding writes it alike, and by number."""
        missing = [str(name) for name in self._tables if str(name).isascii() and (name.schema, name.table) not in found]
        if missing or count < len(self._tables):
            names = f": {', '.join(islice(missing, 10))}" if missing else ""
            raise _Damaged(
                f"has the rows of {count} tables, not of the {len(self._tables)} that the database has{names}"
            )

    def _read_roles(self, kind: str) -> _Parser:
        """Find the roles that a text names which grants something."""
        size = yield from self._integer()
        if kind not in _NAMES_ROLES or not 0 < size <= _MAX_TEXT:
            yield from self._skip(max(0, size))
            return
        text = (yield from self._take(size)).decode(errors="replace")
        if kind == "POLICY":
            text = _CONDITION.split(text, maxsplit=1)[0]
        found = {unquote_name(role) for roles in _GRANTED.findall(text) for role in _ROLE.findall(roles)}
        self.contents.roles |= found - {"PUBLIC", "CURRENT_USER", "SESSION_USER", "CURRENT_ROLE", "public"}

    def _read_block(self) -> _Parser:
        (kind,) = yield from self._take(1)
        number = yield from self._integer()
        if number not in self._is_copied or kind not in (_TABLE_BLOCK, _LARGE_OBJECTS_BLOCK):
            raise _Damaged("is damaged between the data of two tables")
        if kind == _LARGE_OBJECTS_BLOCK:
            while (yield from self._integer()):  # the OID of the next one
                yield from self._walk()
        elif self._is_copied[number]:
            yield from self._search_end()
        else:
            yield from self._walk()
        del self._is_copied[number]

    def _walk(self) -> _Parser:
        while size := (yield from self._integer()):
            yield from self._skip(size)

    def _search_end(self) -> _Parser:
        tail = b""  # the end may be cut by that of a piece
        while (end := self._find_end()) < 0:
            self._require_rows(self._position, len(self._buffer))
            tail = (tail + self._buffer[max(self._position, len(self._buffer) - _SEAM) :])[-_SEAM:]
            self._position = len(self._buffer)
            yield from self._receive()
            if _COPY_END in tail + self._buffer[:_SEAM]:
                self._buffer = tail + self._buffer
        self._require_rows(self._position, end)
        self._position = end + len(_COPY_END)

    def _find_end(self) -> int:
        if self._buffer.rfind(_COPY_END, self._position) < 0:  # which takes half the time of find()
            return -1
        return self._buffer.find(_COPY_END, self._position)

    def _require_rows(self, begin: int, end: int) -> None:
        """Look for zeros, and walk some rows of each part of the piece."""
        if self._buffer.rfind(_ZEROS, begin, end) >= 0:
            raise _Damaged("holds zeros where the rows of a table should be")
        for part in range(begin, end, _SAMPLE_EVERY):
            if not self._are_rows(part, end):
                raise _Damaged("is damaged in the rows of a table")

    def _are_rows(self, begin: int, end: int) -> bool:
        """Walk the rows from the first one that certainly begins after *begin*, where the chain may be cut anywhere."""
        position = self._buffer.find(0, begin + _NO_LENGTH, end)
        for _ in range(_SAMPLE):
            if position < 0 or 0 not in self._buffer[position - _NO_LENGTH : position]:
                break
            position = self._buffer.find(0, position + 1, end)
        else:
            return True  # rows of a few bytes, which cannot be distinguished from a length
        for _ in range(_SAMPLE):
            if position < 0 or position >= end:
                break
            first = position + 1 + self._integer_size
            size = int.from_bytes(self._buffer[position + 1 : first], "little")
            if self._buffer[position - 1 : position + 1] != _NEXT_ROW:
                return False
            if first + size > end:
                return self._buffer.find(0, first, end) < 0
            position = first + size
        return True

    # What the format consists of.

    def _integer(self) -> Generator[None, bytes, int]:
        sign, *digits = yield from self._take(1 + self._integer_size)
        if sign > 1:
            raise _Damaged("is damaged: it has no number where one should be")
        number = int.from_bytes(digits, "little")
        return -number if sign else number

    def _text(self) -> Generator[None, bytes, str]:
        size = yield from self._integer()
        if size > _MAX_TEXT:
            raise _Damaged("has a damaged table of contents")
        return (yield from self._take(max(0, size))).decode(errors="replace")

    def _skip_texts(self, count: int) -> _Parser:
        for _ in range(count):
            yield from self._skip_text()

    def _skip_text(self) -> Generator[None, bytes, bool]:
        """Return False if there is none, which is not the same as an empty one."""
        size = yield from self._integer()
        yield from self._skip(max(0, size))
        return size >= 0

    def _take(self, count: int) -> Generator[None, bytes, bytes]:
        while len(self._buffer) - self._position < count:
            yield from self._receive()
        begin, self._position = self._position, self._position + count
        return self._buffer[begin : self._position]

    def _skip(self, count: int) -> _Parser:
        while (there := len(self._buffer) - self._position) < count:
            count -= there
            self._position = len(self._buffer)
            yield from self._receive()
        self._position += count

    def _receive(self) -> _Parser:
        block = yield
        if not block:
            raise _Damaged("ends too early: its last part is missing")
        self._buffer, self._position = self._buffer[self._position :] + block, 0

    def _has_more(self) -> Generator[None, bytes, bool]:
        if self._position == len(self._buffer):
            self._buffer, self._position = (yield), 0
        return bool(self._buffer)
