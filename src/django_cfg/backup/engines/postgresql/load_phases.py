"""A restore in phases: the rows from the stream, then all that needs them, by several sessions at the same time.

pg_restore works with several sessions only from a file. What comes after the rows - indexes, constraints, triggers,
privileges, the refresh of materialized views - is in the table of contents, at the beginning of the archive: a file of
that alone is enough, and no row is written to this machine's disk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from django_cfg.backup.engines.postgresql.archive_entry import FIRST_PASS, LAST_PASS, get_pass
from django_cfg.backup.engines.postgresql.archive_script import Contents
from django_cfg.backup.engines.postgresql.pg_restore import ArchiveSelection, OpenedArchive
from django_cfg.backup.engines.postgresql.restore_sessions import RestoreSessions

CONTENTS_LIMIT = 64 << 20  # bytes of a table of contents; a larger one is restored by one session


@dataclass(frozen=True)
class LoadPhases:
    """The entries of a selection, in the order in which they are restored."""

    rows: ArchiveSelection  # with what has to be there before them
    built: ArchiveSelection  # on the rows
    last: ArchiveSelection  # event triggers, which would see the rest: pg_restore itself does not keep them for the end

    @property
    def after_rows(self) -> list[ArchiveSelection]:
        return [part for part in (self.built, self.last) if part.contents.text]


def load_in_phases(archive: OpenedArchive, selection: ArchiveSelection, sessions: RestoreSessions) -> None:
    """Restore *selection* of *archive*.

    :raises BackupError: the server refused something, or the archive is not complete.
    """
    if sessions.jobs == 1 or _measure_short_contents(archive) is None:
        archive.load_into(sessions.database, selection)
        return
    phases = split_phases(archive, selection)
    archive.load_into(sessions.database, phases.rows)  # to the end of the stream, whose digests are compared there
    build_on_rows(archive, phases, sessions)


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
