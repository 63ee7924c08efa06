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


def load(archive: OpenedArchive, selection: ArchiveSelection, sessions: RestoreSessions) -> None:
    """Restore *selection* of *archive*.

    :raises BackupError: the server refused something, or the archive is not complete.
    """
    size = archive.measure_contents() if sessions.jobs > 1 else None
    if size is None or size > CONTENTS_LIMIT:
        archive.load_into(sessions.database, selection)
        return
    phases = split_phases(archive, selection)
    archive.load_into(sessions.database, phases.rows)  # to the end of the stream, whose digests are compared there
    for part, jobs in ((phases.built, sessions.jobs), (phases.last, 1)):
        if part.contents.text:
            archive.load_without_rows(sessions.database, part, size, jobs)


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
