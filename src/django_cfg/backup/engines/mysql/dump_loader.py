"""Loads the tables and rows of a dump by the vendor's own client, and collects its views, triggers and routines."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache

from django_cfg.backup.engines.mysql.error_text import IN_ENGLISH, STDERR_LINES, remove_row_data
from django_cfg.backup.engines.mysql.option_file import OptionFile
from django_cfg.backup.engines.mysql.session import Session, quote_name
from django_cfg.backup.engines.mysql.sql_splitter import Rows, Splitter
from django_cfg.backup.engines.mysql.stored_code.parser import StoredCodeParser, StoredObject
from django_cfg.backup.engines.mysql.table_definition import read_name, split_definition
from django_cfg.backup.engines.mysql.tools import Tool
from django_cfg.backup.errors import VerificationFailed
from django_cfg.backup.pipeline.stream import Readable, blocks
from django_cfg.backup.process.child import Child

# No statement of a dump may read a file of this machine: without --local-infile=0 the client sends it.
_OPTIONS = ("--batch", "--binary-mode", "--local-infile=0", "--default-character-set=utf8mb4",
            "--max-allowed-packet=1G")  # fmt: skip
# What a server refuses today and took once: wide rows, rows that miss a CHECK, tables without a primary key. And its
# errors in words that are understood here.
_LENIENT = (
    *("SET SESSION innodb_strict_mode = 0", "SET SESSION check_constraint_checks = 0"),
    *("SET SESSION sql_require_primary_key = 0", "SET SESSION max_statement_time = 0"),
    IN_ENGLISH,
)
# The dump itself chooses a mode in which the server makes 0000-00-00 of a date that it took once, as 2020-02-31.
_ANY_DATE = b"SET SESSION sql_mode = CONCAT(@@sql_mode, ',ALLOW_INVALID_DATES');\n"
_LOCKS = (b"LOCK TABLES ", b"UNLOCK TABLES")  # under a lock the default of a column cannot use its sequence


class DumpLoader:
    """Loads a dump into *schema*; ``stored_objects`` are what it holds besides tables.

    :param session: of the same user. It becomes as lenient as the session that loads.
    :param large: tables whose indexes and foreign keys are added after their rows.
    """

    def __init__(
        self, tool: Tool, file: OptionFile, session: Session, schema: str, large: Collection[str] = ()
    ) -> None:
        self.stored_objects: list[StoredObject] = []
        self._first_statements = [f"{text};\n".encode() for text in _LENIENT if _is_allowed(session, text)]
        self.tool, self.schema, self._file = tool, schema, file
        self._splitter, self._parser = Splitter(), StoredCodeParser()
        self._large = large
        self._indexes = b""  # the statement that adds those of the table that is being loaded
        self._has_rows = False  # of that table

    def load(self, plain: Readable) -> None:
        """Read *plain* to its end.

        :raises VerificationFailed: the dump is not complete; the digests of the stream have been checked before.
        :raises ToolFailed: the server refused a statement.
        """
        sandbox = ["--sandbox"] if self.tool.has_option("--sandbox") else []  # nothing in a dump may start a program
        argv = [self.tool.path, self._file.argument, *_OPTIONS, *sandbox, f"--database={self.schema}"]
        with Child(argv, feed=True, secrets=self._file.secrets, said=remove_row_data, lines=STDERR_LINES) as client:
            try:
                client.stdin.writelines(self._first_statements)
                for block in blocks(plain):
                    client.stdin.writelines(self._select_parts(block))
                if not self._splitter.is_complete:
                    raise VerificationFailed("The archive is not a complete dump: its end mark is missing.")
                client.stdin.writelines(self._take_indexes())
                client.stdin.close()
            except BrokenPipeError:  # the client has stopped reading; its own error says why
                with suppress(BrokenPipeError):
                    client.stdin.close()
                client.wait()
                raise
            client.wait()

    def _select_parts(self, block: bytes) -> Iterator[bytes | memoryview]:
        """Return the parts of *block* for the client."""
        for part in self._splitter.feed(block):
            if isinstance(part, Rows):
                self._has_rows = True
                yield part.block
                continue
            if self._has_rows:
                yield from self._take_indexes()
            is_code, stored_object = self._parser.read(part)
            if stored_object and stored_object.kind == "view":
                stored_object = replace(stored_object, text=self._remove_schema(stored_object.text))
            if stored_object:
                self.stored_objects.append(stored_object)
            if not is_code and part.text.startswith(b"CREATE TABLE"):
                yield from self._create_table(self._remove_schema(part.text))
            elif not is_code and not part.text.startswith(_LOCKS):
                yield part.text + b";\n"

    def _create_table(self, text: bytes) -> Iterator[bytes]:
        yield from self._take_indexes()
        split = split_definition(text) if read_name(text) in self._large else None
        if split:
            self._indexes, self._has_rows = split.indexes, False
        yield _ANY_DATE + (split.table if split else text) + b";\n"

    def _take_indexes(self) -> Iterator[bytes]:
        """Return the statement that adds the indexes of the table whose rows are loaded, if they were left out."""
        if self._indexes:
            yield self._indexes + b";\n"
            self._indexes = b""

    def _remove_schema(self, text: bytes) -> bytes:
        """Remove the dumped database from the names of sequences, so that they belong to the schema in use."""
        database = quote_name(self._splitter.database.decode(errors="surrogateescape"))
        return _build_sequence_pattern(database.encode(errors="surrogateescape")).sub(rb"\g<kept>", text)


def _is_allowed(session: Session, statement: str) -> bool:
    """Try *statement*: not every server has the variable, and not every user may set it."""
    try:
        session.execute(statement)
    except Exception:  # noqa: BLE001  an error of the connection is met again
        return False
    return True


@cache
def _build_sequence_pattern(database: bytes) -> re.Pattern[bytes]:
    """Match strings, which stay, and *database* before the name of a sequence: the server puts it there."""
    string = rb"'(?:[^'\\]|\\.)*'"
    return re.compile(
        rb"(?P<kept>" + string + rb"|\b(?:nextval|lastval|setval)\()(?:" + re.escape(database) + rb"\.)?", re.S
    )
