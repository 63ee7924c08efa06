"""Loading: the stock client is fed the tables and rows of a dump; what else it holds is put by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django_cfg.backup.engines.mysql.option_file import OptionFile
from django_cfg.backup.engines.mysql.session import quoted
from django_cfg.backup.engines.mysql.sql_splitter import Rows, Splitter
from django_cfg.backup.engines.mysql.stored_code.parser import Item, Reader
from django_cfg.backup.engines.mysql.tools import Tool
from django_cfg.backup.errors import VerificationFailed
from django_cfg.backup.pipeline.stream import Readable, blocks
from django_cfg.backup.process.child import Child

_END = b";\n"
_LOCKS = (b"LOCK TABLES ", b"UNLOCK TABLES")  # they would keep a default from drawing from its sequence


class Loader:
    """Feeds *schema* with a dump; ``items`` are what it held besides tables."""

    def __init__(self, tool: Tool, file: OptionFile, schema: str) -> None:
        self.items: list[Item] = []
        self.tool = tool
        self._argv = _argv(tool, file, schema)
        self._secrets = file.secrets
        self._schema = schema
        self._splitter = Splitter()
        self._reader = Reader()

    def load(self, plain: Readable) -> None:
        """Read *plain* to its end.

        :raises VerificationFailed: it is not whole; the digests of the stream are looked at before that.
        :raises ToolFailed: the server refused a statement.
        """
        with Child(self._argv, feed=True, secrets=self._secrets) as client:
            with _words_of(client):
                for block in blocks(plain):
                    for part in self._parts(block):
                        client.stdin.write(part)
                if not self._splitter.complete or self._splitter.rest:
                    raise VerificationFailed("The archive is not a whole dump: its end mark is missing.")
                client.stdin.close()
            client.wait()

    def _parts(self, block: bytes) -> Iterator[bytes | memoryview]:
        """What of a block goes to the client."""
        for piece in self._splitter.feed(block):
            if isinstance(piece, Rows):
                yield piece.block
                continue
            is_code, item = self._reader.read(piece)
            if item:
                self.items.append(item)
            if not is_code and not piece.text.startswith(_LOCKS):
                yield self._at_home(piece.text) + _END

    def _at_home(self, text: bytes) -> bytes:
        """A default that draws from a sequence names the sequence's database, which is now another."""
        if not text.startswith(b"CREATE TABLE"):
            return text
        was = re.escape(
            quoted(self._splitter.database.decode(errors="surrogateescape")).encode(errors="surrogateescape")
        )
        return re.sub(
            rb"\b(nextval|lastval|setval)\(" + was + rb"\.",
            lambda found: found[1] + b"(" + quoted(self._schema).encode() + b".",
            text,
        )


@contextmanager
def _words_of(client: Child) -> Iterator[None]:
    """A client that does not read on has said why."""
    try:
        yield
    except BrokenPipeError:
        with suppress(BrokenPipeError):
            client.stdin.close()
        client.wait()
        raise


def _argv(tool: Tool, file: OptionFile, schema: str) -> list[str]:
    sandbox = ["--sandbox"] if tool.knows("--sandbox") else []  # nothing in a dump may start a program
    return [
        tool.path,
        file.argument,
        "--batch",
        "--binary-mode",
        "--default-character-set=utf8mb4",
        "--max-allowed-packet=1G",
        *sandbox,
        f"--database={schema}",
    ]
