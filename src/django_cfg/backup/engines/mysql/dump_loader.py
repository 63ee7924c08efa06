"""Loads the tables and rows of a dump by the vendor's own client, and collects its views, triggers and routines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache

from django_cfg.backup.engines.mysql.error_text import STDERR_LINES, remove_row_data
from django_cfg.backup.engines.mysql.option_file import OptionFile
from django_cfg.backup.engines.mysql.session import quote_name
from django_cfg.backup.engines.mysql.sql_splitter import Rows, Splitter
from django_cfg.backup.engines.mysql.stored_code.parser import StoredCodeParser, StoredObject
from django_cfg.backup.engines.mysql.tools import Tool
from django_cfg.backup.errors import VerificationFailed
from django_cfg.backup.pipeline.stream import Readable, blocks
from django_cfg.backup.process.child import Child

_OPTIONS = ("--batch", "--binary-mode", "--default-character-set=utf8mb4", "--max-allowed-packet=1G")
_LOCKS = (b"LOCK TABLES ", b"UNLOCK TABLES")  # under a lock the default of a column cannot use its sequence


class DumpLoader:
    """Loads a dump into *schema*; ``stored_objects`` are what it holds besides tables."""

    def __init__(self, tool: Tool, file: OptionFile, schema: str) -> None:
        self.stored_objects: list[StoredObject] = []
        self.tool, self.schema, self._file = tool, schema, file
        self._splitter, self._parser = Splitter(), StoredCodeParser()

    def load(self, plain: Readable) -> None:
        """Read *plain* to its end.

        :raises VerificationFailed: the dump is not complete; the digests of the stream have been checked before.
        :raises ToolFailed: the server refused a statement.
        """
        sandbox = ["--sandbox"] if self.tool.has_option("--sandbox") else []  # nothing in a dump may start a program
        argv = [self.tool.path, self._file.argument, *_OPTIONS, *sandbox, f"--database={self.schema}"]
        with Child(argv, feed=True, secrets=self._file.secrets, said=remove_row_data, lines=STDERR_LINES) as client:
            try:
                for block in blocks(plain):
                    client.stdin.writelines(self._select_parts(block))
                if not self._splitter.is_complete:
                    raise VerificationFailed("The archive is not a complete dump: its end mark is missing.")
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
                yield part.block
                continue
            is_code, stored_object = self._parser.read(part)
            if stored_object and stored_object.kind == "view":
                stored_object = replace(stored_object, text=self._remove_schema(stored_object.text))
            if stored_object:
                self.stored_objects.append(stored_object)
            if not is_code and not part.text.startswith(_LOCKS):
                is_table = part.text.startswith(b"CREATE TABLE")
                yield (self._remove_schema(part.text) if is_table else part.text) + b";\n"

    def _remove_schema(self, text: bytes) -> bytes:
        """Remove the dumped database from the names of sequences, so that they belong to the schema in use."""
        database = quote_name(self._splitter.database.decode(errors="surrogateescape"))
        return _build_sequence_pattern(database.encode(errors="surrogateescape")).sub(rb"\g<kept>", text)


@cache
def _build_sequence_pattern(database: bytes) -> re.Pattern[bytes]:
    """Match strings, which stay, and *database* before the name of a sequence: the server puts it there."""
    string = rb"'(?:[^'\\]|\\.)*'"
    return re.compile(
        rb"(?P<kept>" + string + rb"|\b(?:nextval|lastval|setval)\()(?:" + re.escape(database) + rb"\.)?", re.S
    )
