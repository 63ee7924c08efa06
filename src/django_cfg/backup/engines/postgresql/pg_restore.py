"""The archive on its way through pg_restore: its contents first, then all of it, as a script or into a database."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.postgresql.archive_script import Contents, body
from django_cfg.backup.engines.postgresql.connection import (
    program_settings,
    refused,
)
from django_cfg.backup.engines.postgresql.error_text import program
from django_cfg.backup.engines.postgresql.libpq import connection_string
from django_cfg.backup.engines.postgresql.tools import Tools
from django_cfg.backup.errors import ToolFailed, VerificationFailed
from django_cfg.backup.pipeline.stream import Readable, blocks
from django_cfg.backup.process.child import Child, Feeder

_HEAD = 1 << 16  # bytes at a time while the table of contents is read
# What pg_restore says when the server, and not the archive, is the reason.
_SERVER_SAYS = ("could not execute query", "COPY failed", "connection to server", "from server", "PQputCopy")


@dataclass(frozen=True)
class Choice:
    """What of an archive is restored, and as whose."""

    options: Sequence[str] = ()
    contents: Contents | None = None  # None: all of it


class OpenedArchive:
    """An archive whose table of contents has been read; the rest of *plain* is still to come."""

    def __init__(self, plain: Readable, tools: Tools) -> None:
        self._tools = tools
        self._plain = plain
        self._head: list[bytes] = []
        with (
            Feeder(self._recorded(), to_the_end=False) as feeder,
            program([tools.path("pg_restore"), "--list"], feed=True) as lister,
        ):
            feeder.start(lister.stdin)
            self.contents = Contents(lister.stdout.read())
            _wait(lister)

    def statement(self, line: bytes) -> bytes:
        """The SQL of one entry without rows, a *line* of the contents."""
        with tempfile.NamedTemporaryFile() as chosen:
            chosen.write(line + b"\n")
            chosen.flush()
            argv = [self._tools.path("pg_restore"), "--file=-", f"--use-list={chosen.name}"]
            with Feeder(iter(self._head), to_the_end=False) as feeder, program(argv, feed=True) as reader:
                feeder.start(reader.stdin)
                statement: bytes = reader.stdout.read()
                _wait(reader)
        return statement

    def write_script(self, choice: Choice, folder: Path, server: int, sink: Callable[[bytes], None]) -> None:
        """Hand *sink* the script of what is chosen, without its COMMIT, for a server of the major version *server*."""
        argv = [self._tools.path("pg_restore"), "--file=-", "--single-transaction", *_arguments(choice, folder)]
        with Feeder(self._blocks(), to_the_end=True) as feeder, program(argv, feed=True) as script:
            feeder.start(script.stdin)
            try:
                for block in body(blocks(script.stdout), server):
                    sink(block)
            except VerificationFailed:
                _wait(script)  # its own words say more
                raise
            _wait(script)

    def load_into(self, database: Database, choice: Choice, folder: Path) -> None:
        """Restore what is chosen into *database*, statement by statement; the first that fails ends it.

        :raises RestoreFailed: the server refused something.
        :raises VerificationFailed: the archive is not whole.
        """
        settings = program_settings(database)
        assumed = settings.get("OPTIONS", {}).get("assume_role")
        role = [f"--role={assumed}"] if assumed else []
        argv = [self._tools.path("pg_restore"), "--exit-on-error", "--no-password", *role,
                *_arguments(choice, folder), f"--dbname={connection_string(settings)}"]  # fmt: skip
        with (
            Feeder(self._blocks(), to_the_end=True) as feeder,
            program(argv, settings=settings, feed=True) as loader,
        ):
            feeder.start(loader.stdin)
            try:
                loader.wait()
            except ToolFailed as error:
                if any(sign in error.last_words for sign in _SERVER_SAYS):
                    raise refused(database, error) from error
                raise _not_whole(error) from error

    def _blocks(self) -> Iterator[bytes]:
        return chain(self._head, blocks(self._plain))

    def _recorded(self) -> Iterator[bytes]:
        while block := self._plain.read(_HEAD):
            self._head.append(block)
            yield block


def _arguments(choice: Choice, folder: Path) -> list[str]:
    if choice.contents is None:
        return list(choice.options)
    chosen = folder / "contents"
    chosen.write_bytes(choice.contents.listed)
    return [*choice.options, f"--use-list={chosen}"]


def _wait(child: Child) -> None:
    try:
        child.wait()
    except ToolFailed as error:
        raise _not_whole(error) from error


def _not_whole(error: ToolFailed) -> VerificationFailed:
    return VerificationFailed(f"The archive is not whole: {error}. The database was not touched.")
