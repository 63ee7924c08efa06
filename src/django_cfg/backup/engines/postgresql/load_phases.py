"""A restore in phases: the rows from the stream, then all that needs them, by several sessions at the same time.

Rows are loaded by several sessions where the archive can be read several times at once: each pg_restore gets all of it
and loads the rows of some tables. pg_restore itself works with several sessions only from a file. What comes after the
rows - indexes, constraints, triggers, privileges, the refresh of materialized views - is in the table of contents, at
the beginning of the archive: a file of that alone is enough, and no row is written to this machine's disk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.postgresql.archive_entry import FIRST_PASS, LAST_PASS, get_pass
from django_cfg.backup.engines.postgresql.archive_script import Contents
from django_cfg.backup.engines.postgresql.pg_restore import ArchiveSelection, OpenedArchive
from django_cfg.backup.engines.postgresql.restore_sessions import RestoreSessions
from django_cfg.backup.engines.postgresql.tools import Tools
from django_cfg.backup.errors import RestoreFailed, StorageError
from django_cfg.backup.pipeline.archive import PlainReader
from django_cfg.backup.pipeline.stream import Readable

CONTENTS_LIMIT = 64 << 20  # bytes of a table of contents; a larger one is restored by one session
WORTH_A_SESSION = 50_000  # rows


@dataclass(frozen=True)
class LoadPhases:
    """The entries of a selection, in the order in which they are restored."""

    rows: ArchiveSelection  # with what has to be there before them
    built: ArchiveSelection  # on the rows
    last: ArchiveSelection  # event triggers, which would see the rest: pg_restore itself does not keep them for the end

    @property
    def after_rows(self) -> list[ArchiveSelection]:
        return [part for part in (self.built, self.last) if part.contents.text]


def load_in_phases(
    archive: OpenedArchive, selection: ArchiveSelection, sessions: RestoreSessions, rows: RowSource
) -> None:
    """Restore *selection* of *archive*.

    :raises BackupError: the server refused something, or the archive is not complete.
    """
    size = _measure_short_contents(archive) if sessions.jobs > 1 else None
    if size is None:
        archive.load_into(sessions.database, selection)
        return
    phases = split_phases(archive, selection)
    groups = _divide(phases.rows, sessions, rows)
    if len(groups) == 1:
        archive.load_into(sessions.database, phases.rows)  # to the end of the stream, whose digests are compared there
    else:
        before = set(archive.list_section("pre-data"))
        lines = phases.rows.contents.lines
        definitions = _choose(phases.rows, [line for line in lines if line in before])
        archive.load_without_rows(sessions.database, definitions, size, 1)
        elsewhere = before.union(*(group.contents.lines for group in groups[1:]))
        rest = _choose(phases.rows, [line for line in lines if line not in elsewhere])  # with sequences, large objects
        others = [partial(rows.load_again, sessions.database, group) for group in groups[1:]]
        rows.load_at_once([partial(archive.load_into, sessions.database, rest), *others])
    build_on_rows(archive, phases, sessions)


class RowSource:
    """Where the rows of a backup come from, once or several times at once.

    :param open_again: opens the archive once more; None: it is read once.
    :param sizes: rows by table, named ``schema.name``.
    """

    def __init__(
        self,
        tools: Tools,
        sizes: Mapping[str, int],
        open_again: Callable[[], AbstractContextManager[PlainReader]] | None,
    ) -> None:
        self._tools, self._open_again, self.sizes = tools, open_again, sizes
        self._opened: list[OpenedArchive] = []
        self._has_failed = threading.Event()

    @property
    def can_be_read_again(self) -> bool:
        return self._open_again is not None

    def open(self, plain: Readable, roles: Sequence[str] = ()) -> OpenedArchive:
        """Open an archive that ends when another one has failed."""
        archive = OpenedArchive(_Stoppable(plain, self._has_failed), self._tools, roles)
        self._opened.append(archive)
        return archive

    def load_again(self, database: Database, selection: ArchiveSelection) -> None:
        """Restore *selection* from another reading of the archive, not farther than its bytes need a check."""
        if self._open_again is None:
            raise StorageError("The archive is read once.")
        with self._open_again() as plain:
            self.open(plain).load_into(database, selection, to_the_end=not plain.may_end_early)

    def load_at_once(self, loads: Sequence[Callable[[], None]]) -> None:
        """Call the first of *loads* in this thread and each other one in its own; the first error ends all."""
        failures: list[BaseException] = []

        def run(load: Callable[[], None]) -> None:
            try:
                load()
            except BaseException as error:
                failures.append(error)
                self._end()
                raise

        first, *others = loads
        with ThreadPoolExecutor(max(1, len(others)), thread_name_prefix="restore") as threads:
            futures = [threads.submit(copy_context().run, run, load) for load in others]
            try:
                run(first)
                wait(futures)
            except BaseException as error:  # noqa: BLE001  raised below, after all have ended
                if error not in failures:  # a signal, while this one waited
                    failures.append(error)
                    self._end()
        if failures:
            raise failures[0]

    def _end(self) -> None:
        self._has_failed.set()
        for archive in self._opened:
            archive.end()


class _Stoppable:
    def __init__(self, plain: Readable, has_failed: threading.Event) -> None:
        self._plain, self._has_failed = plain, has_failed

    def read(self, size: int = -1) -> bytes:
        if self._has_failed.is_set():
            raise RestoreFailed("Another session of this restore has failed.")
        return self._plain.read(size)


def _divide(selection: ArchiveSelection, sessions: RestoreSessions, rows: RowSource) -> list[ArchiveSelection]:
    """Return the rows in groups that are worth a session each; one group: they are not divided."""
    if not rows.can_be_read_again:
        return [selection]
    divided = selection.contents.divide_rows(sessions.jobs, rows.sizes)
    worth = [replace(selection, contents=contents) for size, contents in divided if size >= WORTH_A_SESSION]
    return worth if len(worth) == sessions.jobs else [selection]


def _choose(selection: ArchiveSelection, lines: Iterable[bytes]) -> ArchiveSelection:
    return replace(selection, contents=Contents(b"\n".join(lines)))


def build_on_rows(archive: OpenedArchive, phases: LoadPhases, sessions: RestoreSessions) -> None:
    """Restore what comes after the rows, by several sessions where that is possible.

    :raises RestoreFailed: the server refused something.
    """
    size = _measure_short_contents(archive) if sessions.jobs > 1 else None
    for part in phases.after_rows:
        if size is None:
            archive.load_into(sessions.database, part, only_head=True)
        else:
            archive.load_without_rows(sessions.database, part, size, 1 if part is phases.last else sessions.jobs)


def _measure_short_contents(archive: OpenedArchive) -> int | None:
    """Return the bytes of the table of contents; None: they are not known, or too many for a file of them."""
    size = archive.measure_contents()
    return size if size is not None and size <= CONTENTS_LIMIT else None


def split_phases(archive: OpenedArchive, selection: ArchiveSelection) -> LoadPhases:
    passes = {entry.line: get_pass(entry) for entry in archive.entries}
    after_rows = set(archive.list_section("post-data"))
    rows, built, last = [], [], []
    for line in filter(passes.__contains__, selection.contents.lines):
        if passes[line] == LAST_PASS:
            last.append(line)
        elif passes[line] != FIRST_PASS or line in after_rows:
            built.append(line)
        else:
            rows.append(line)
    parts = (replace(selection, contents=Contents(b"\n".join(lines))) for lines in (rows, built, last))
    return LoadPhases(*parts)
