"""pg_restore, fed with an archive: first its table of contents, then all of it, as a script or into a database."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.postgresql.archive_entry import ArchiveEntry, parse_entries
from django_cfg.backup.engines.postgresql.archive_script import Contents, adapt_script
from django_cfg.backup.engines.postgresql.connection import get_program_settings
from django_cfg.backup.engines.postgresql.custom_format import measure_contents
from django_cfg.backup.engines.postgresql.error_advice import MEMORY, explain_tool_failure
from django_cfg.backup.engines.postgresql.error_text import remove_row_data, remove_row_data_of_several
from django_cfg.backup.engines.postgresql.libpq import build_conninfo
from django_cfg.backup.engines.postgresql.tools import Tools, start_program
from django_cfg.backup.errors import BackupError, RestoreFailed, StorageError, ToolFailed, VerificationFailed
from django_cfg.backup.pipeline.stream import Readable, blocks
from django_cfg.backup.process.child import Child, Feeder
from django_cfg.backup.process.private_dir import create_private, private_dir

_PROPERTIES = re.compile(rb"\d+; \d+ \d+ DATABASE PROPERTIES ")
_COLUMNS = re.compile(rb"\d+; \d+ \d+ (TABLE|DEFAULT|SEQUENCE) (?!DATA |ATTACH )")
_BLOCK = 1 << 16  # bytes read at a time while the table of contents is read
# pg_restore prints one of these if the server, and not the archive, is the cause.
_SERVER_ERRORS = ("could not execute query", "COPY failed", "connection to server", "from server", "PQputCopy",
                  "could not set", "could not alter", "large object", "database transaction")  # fmt: skip
# What --verbose adds: the entry that is restored, by its number in the contents, and other progress.
_CURRENT_ENTRY = re.compile(r"^pg_restore: from TOC entry (\d+); .*$", re.MULTILINE)
_PROGRESS = re.compile(r"^pg_restore: (?!error:|warning:|detail:|hint:).*\n?", re.MULTILINE)


@dataclass(frozen=True)
class ArchiveSelection:
    """The entries of an archive to restore, and pg_restore's options for them."""

    contents: Contents
    options: Sequence[str] = ()

    def of_sections(self, *sections: str) -> ArchiveSelection:
        """The entries of these of pg_restore's sections: pre-data, data, post-data."""
        return replace(self, options=[*self.options, *(f"--section={name}" for name in sections)])


class OpenedArchive:
    """An archive whose table of contents has been read; the rest of *plain* is still to come.

    :param roles: the owners that it names, as far as they are known.
    """

    def __init__(self, plain: Readable, tools: Tools, roles: Sequence[str] = ()) -> None:
        self._program = tools.path("pg_restore")
        self._plain = plain
        self._head: list[bytes] = []
        self._loader: Child | None = None
        with (
            Feeder(self._read_head(), to_the_end=False) as feeder,
            start_program([self._program, "--list"], feed=True) as lister,
        ):
            feeder.start(lister.stdin)
            self.contents = Contents(lister.stdout.read())
            _wait(lister)
        self.entries = parse_entries(self.contents, roles)

    def read_script(self, lines: Iterable[bytes], options: Sequence[str] = ()) -> bytes:
        """Return the SQL of entries without rows, *lines* of the contents."""
        return self._read_script(b"\n".join(lines), *options)

    def read_columns(self) -> str:
        """Return the script of the tables, sequences and their positions, and defaults; without any row."""
        lines = [line for line in self.contents.lines if _COLUMNS.match(line)]
        return self.read_script(lines).decode(errors="replace")

    def _read_script(self, text: bytes, *options: str) -> bytes:
        with self._run(ArchiveSelection(Contents(text + b"\n"), options), "--file=-", only_head=True) as reader:
            script: bytes = reader.stdout.read()
            _wait(reader)
        return script

    def read_database_properties(self) -> str:
        """Return the script that ``pg_restore --create`` makes of the settings of the database that was dumped."""
        with self._feed([self._program, "--create", "--list"]) as lister:
            lines = [line for line in lister.stdout.read().split(b"\n") if _PROPERTIES.match(line)]
            _wait(lister)
        return b"".join(self._read_script(line, "--create") for line in lines).decode(errors="replace")

    def write_script(
        self, selection: ArchiveSelection, server: int, sink: Callable[[bytes], None], *, only_head: bool = False
    ) -> None:
        """Pass *sink* the script of *selection*, without its COMMIT, for a server of the major version *server*.

        :param only_head: the selection has no rows, and the rest of the archive may have been read.
        """
        with self._run(selection, "--file=-", "--single-transaction", only_head=only_head) as program:
            try:
                for block in adapt_script(blocks(program.stdout), server):
                    sink(block)
            except VerificationFailed:
                _wait(program)  # its own error says more
                raise
            _wait(program)

    def load_into(
        self, database: Database, selection: ArchiveSelection, *, only_head: bool = False, to_the_end: bool = True
    ) -> None:
        """Restore *selection* into *database*, statement by statement; the first error ends it.

        :param only_head: the selection has no rows, and the rest of the archive may have been read.
        :param to_the_end: read what follows the selection, too, for the checks at the end of the archive.
        :raises RestoreFailed: the server refused something.
        :raises VerificationFailed: the archive is not complete.
        """
        settings = get_program_settings(database)
        options = _build_load_options(settings)
        with self._run(selection, *options, settings=settings, only_head=only_head, to_the_end=to_the_end) as loader:
            self._loader = loader
            try:
                loader.wait()
            except ToolFailed as failure:
                error = _without_progress(failure)
                if _was_killed(error):
                    raise explain_tool_failure(database, error) from error
                if any(text in error.last_words for text in _SERVER_ERRORS):
                    entry = self._find_current(failure.last_words)
                    raise explain_tool_failure(database, error, entry) from error
                raise _unreadable(error) from error

    def end(self) -> None:
        """End a :meth:`load_into` that goes on in another thread."""
        if self._loader:
            self._loader.kill()

    def measure_contents(self) -> int | None:
        """Return how many bytes of the archive come before its first data; None: its format is not known here."""
        return measure_contents(self._head)

    def list_section(self, section: str) -> list[bytes]:
        """Return the lines of the contents that pg_restore counts among *section*."""
        with self._feed([self._program, f"--section={section}", "--list"]) as lister:
            lines: list[bytes] = lister.stdout.read().split(b"\n")
            _wait(lister)
        return lines

    def load_without_rows(self, database: Database, selection: ArchiveSelection, size: int, jobs: int) -> None:
        """Restore *selection*, which has no rows, into *database* by *jobs* sessions; the first error ends it.

        Several sessions need a file: of the first *size* bytes of the archive, in which there is no row.

        :raises RestoreFailed: the server refused something.
        """
        settings = get_program_settings(database)
        with private_dir() as folder:
            contents, chosen = folder / "contents", folder / "entries"
            _write_file(contents, self._cut_head(size))
            _write_file(chosen, [selection.contents.text])
            argv = [self._program, *selection.options, f"--use-list={chosen}", *_build_load_options(settings),
                    f"--jobs={jobs}", str(contents)]  # fmt: skip
            said = remove_row_data_of_several if jobs > 1 else remove_row_data
            with start_program(argv, settings=settings, said=said) as loader:
                try:
                    loader.wait()
                except ToolFailed as failure:
                    entry = self._find_current(failure.last_words)
                    error = _without_progress(failure)
                    raise explain_tool_failure(database, error, entry) from error

    def find_entry(self, heading: tuple[str, str, str]) -> ArchiveEntry | None:
        """Return the entry of a *heading* of the script: its kind, schema and name."""
        start = " ".join(heading) + " "
        return next((entry for entry in self.entries if entry.matches(start)), None)

    def _find_current(self, words: str) -> ArchiveEntry | None:
        numbers = _CURRENT_ENTRY.findall(words)
        start = f"{numbers[-1]}; ".encode() if numbers else b""
        return next((entry for entry in self.entries if start and entry.line.startswith(start)), None)

    @contextmanager
    def _run(
        self,
        selection: ArchiveSelection,
        *options: str,
        settings: Mapping[str, Any] | None = None,
        only_head: bool = False,
        to_the_end: bool = True,
    ) -> Iterator[Child]:
        """Run pg_restore on *selection*, fed with the archive."""
        with private_dir() as folder:  # in one that the next process removes, should this one be killed
            chosen = folder / "entries"
            _write_file(chosen, [selection.contents.text])
            argv = [self._program, *selection.options, f"--use-list={chosen}", *options]
            with self._feed(argv, settings=settings, only_head=only_head, to_the_end=to_the_end) as program:
                yield program

    @contextmanager
    def _feed(
        self,
        argv: Sequence[str],
        *,
        settings: Mapping[str, Any] | None = None,
        only_head: bool = True,
        to_the_end: bool = True,
    ) -> Iterator[Child]:
        archive = iter(self._head) if only_head else chain(self._head, blocks(self._plain))
        with (
            Feeder(archive, to_the_end=to_the_end and not only_head) as feeder,
            start_program(argv, settings=settings, feed=True) as program,
        ):
            feeder.start(program.stdin)
            yield program

    def _cut_head(self, size: int) -> Iterator[bytes]:
        for block in self._head:
            yield block[:size]
            size = max(0, size - len(block))

    def _read_head(self) -> Iterator[bytes]:
        while block := self._plain.read(_BLOCK):
            self._head.append(block)
            yield block


def _write_file(path: Path, data: Iterable[bytes]) -> None:
    try:
        with create_private(path) as file:
            file.writelines(data)
    except OSError as error:
        raise StorageError(
            f"The table of contents of the archive does not fit into the temporary folder {path.parent}: "
            f"{error.strerror}. The database was not touched. Free some space there, or set TMPDIR to another place."
        ) from error


def _build_load_options(settings: Mapping[str, Any]) -> list[str]:
    role = settings.get("OPTIONS", {}).get("assume_role")
    options = ["--exit-on-error", "--verbose", "--no-password", *([f"--role={role}"] if role else [])]
    return [*options, f"--dbname={build_conninfo(settings)}"]


def _without_progress(failure: ToolFailed) -> ToolFailed:
    return ToolFailed(failure.tool, failure.tool_exit_code, _PROGRESS.sub("", failure.last_words).strip())


def check_archive(plain: Readable, tools: Tools, name: str) -> None:
    """Check that the archive *name* is complete: pg_restore makes its script. ``--list`` accepts half a file.

    :raises VerificationFailed: it is not.
    """
    argv = [tools.path("pg_restore"), "--file=/dev/null"]
    with Feeder(blocks(plain), to_the_end=True) as feeder, start_program(argv, feed=True) as reader:
        feeder.start(reader.stdin)
        try:
            reader.wait()
        except ToolFailed as error:
            if _was_killed(error):
                raise BackupError(f"{name} could not be checked: {error}. {MEMORY} Then try again.") from error
            raise VerificationFailed(f"{name} is not a complete dump: {error}.") from error


def _wait(program: Child) -> None:
    try:
        program.wait()
    except ToolFailed as error:
        raise _unreadable(error) from error


def _was_killed(error: ToolFailed) -> bool:
    """Return True if a signal ended the program, which says nothing of the archive."""
    return error.tool_exit_code < 0


def _unreadable(error: ToolFailed) -> BackupError:
    if _was_killed(error):
        return RestoreFailed(f"The archive could not be read: {error}. The database was not touched. {MEMORY}")
    return VerificationFailed(f"The archive is not complete: {error}. The database was not touched.")
