"""A restore in place: one transaction that drops, restores, counts, and only then commits.

psql runs the script that pg_restore makes of the archive, and stops at the first error. Until it has got the
COMMIT, its end - also that of this process, by kill -9 - leaves the database as it was. Readers wait for the locks
of the transaction or see the old data, never a mixture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager

from django_cfg.backup.engines.base import Restoration, RestoreOptions, SwitchResult
from django_cfg.backup.engines.postgresql.drop_objects import DROP_OBJECTS
from django_cfg.backup.engines.postgresql.entry_selection import EntrySelection, restore_optional, select_entries
from django_cfg.backup.engines.postgresql.pg_restore import ArchiveSelection, OpenedArchive
from django_cfg.backup.engines.postgresql.psql_session import PsqlSession
from django_cfg.backup.engines.postgresql.restored_data import build_row_check
from django_cfg.backup.engines.postgresql.schema import quote_name
from django_cfg.backup.engines.postgresql.target import Target
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.stream import Readable


class InPlaceRestoration(Restoration):
    """A restore in the transaction of a psql session."""

    def __init__(self, target: Target, session: PsqlSession, options: RestoreOptions) -> None:
        self._target, self._session, self._options = target, session, options
        self._notes = ""  # for the operator

    def load(self, plain: Readable) -> None:
        target, session = self._target, self._session
        archive = OpenedArchive(plain, target.tools, target.manifest.engine.roles)
        selection = self._select(archive)
        session.begin(archive.find_entry)
        session.send(self._build_preparation(archive))
        archive.write_script(self._select_first(selection), target.server, session.send_entries)
        self._unfinished = archive, selection
        if not target.manifest.row_archives:
            self._finish(archive, selection)

    def load_rows(self, archives: Iterable[AbstractContextManager[Readable]]) -> None:
        for opened in archives:
            with opened as plain:
                archive = OpenedArchive(plain, self._target.tools)
                rows = ArchiveSelection(archive.contents.rows, ["--data-only"])
                archive.write_script(rows, self._target.server, self._session.send_entries)
        archive, selection = self._unfinished
        post_data = selection.main.of_sections("post-data")
        archive.write_script(post_data, self._target.server, self._session.send_entries, only_head=True)
        self._finish(archive, selection)

    def _finish(self, archive: OpenedArchive, selection: EntrySelection) -> None:
        self.skipped = (*selection.skipped, *restore_optional(archive, selection, self._session, self._options))
        self._notes = selection.advise(self._target)

    def _select_first(self, selection: EntrySelection) -> ArchiveSelection:
        """Return what of the first archive comes before the rows of the others: no index, no foreign key."""
        if not self._target.manifest.row_archives:
            return selection.main
        return selection.main.of_sections("pre-data", "data")

    def check(self, manifest: Manifest) -> Mapping[str, int]:
        self._session.send(build_row_check(manifest.tables))
        self._session.wait_for("check")
        return {}

    def fetch_value(self, query: str) -> object:
        return self._session.fetch_value(query)

    def switch(self) -> SwitchResult:
        self._session.commit()
        return SwitchResult(None, self._notes, self.skipped)

    def _select(self, archive: OpenedArchive) -> EntrySelection:
        return select_entries(self._target, archive, self._options, self._target.extension_schemas)

    def _build_preparation(self, archive: OpenedArchive) -> str:
        """Return SQL that empties the database.

        That of a partial backup is empty, but may hold types that the backup needs; the backup holds no schemas.
        """
        if not self._target.manifest.partial:
            return DROP_OBJECTS + "\n"
        names = archive.contents.list_schemas([table.name for table in self._target.manifest.tables])
        return "".join(f"CREATE SCHEMA IF NOT EXISTS {quote_name(name)};\n" for name in names)
