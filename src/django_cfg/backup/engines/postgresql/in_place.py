"""The restore in place: one transaction that drops, restores, counts, and only then commits.

psql is fed the script that pg_restore makes of the archive. It stops at the first error, and as long as
it has not been told to commit, its end - ours too, by kill -9 - leaves the database as it was. Readers
wait for the transaction's locks or see the old state; nobody sees a mixture.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django_cfg.backup.engines.base import Database, Restoration, SwitchResult
from django_cfg.backup.engines.postgresql import schema
from django_cfg.backup.engines.postgresql.drop_objects import CLEAR
from django_cfg.backup.engines.postgresql.missing_roles import LeftOut, naming
from django_cfg.backup.engines.postgresql.pg_restore import Choice, OpenedArchive
from django_cfg.backup.engines.postgresql.psql_session import Psql, psql
from django_cfg.backup.engines.postgresql.row_check import recount
from django_cfg.backup.engines.postgresql.target import Target
from django_cfg.backup.engines.postgresql.tools import Tools
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.stream import Readable


@contextmanager
def restoring_in_place(database: Database, manifest: Manifest, target: Target, tools: Tools) -> Iterator[Restoration]:
    """A restore of *database* in place, prepared and not begun."""
    with psql(database, tools) as session, tempfile.TemporaryDirectory() as folder:
        yield InPlace(manifest, tools, session, Path(folder), target)


class InPlace(Restoration):
    def __init__(self, manifest: Manifest, tools: Tools, session: Psql, folder: Path, target: Target) -> None:
        self._manifest = manifest
        self._tools = tools
        self._psql = session
        self._folder = folder
        self._target = target
        self._left_out = LeftOut()

    def load(self, plain: Readable) -> None:
        archive = OpenedArchive(plain, self._tools)
        self._psql.begin()
        self._psql.send("\n".join(self._make_room()) + "\n")
        archive.write_script(self._choice(archive), self._folder, self._target.server, self._psql.send)

    def check(self, manifest: Manifest) -> None:
        self._psql.send(recount(manifest.tables))
        self._psql.wait_for("checked")

    def fetch_value(self, query: str) -> object:
        return self._psql.fetch_value(query)

    def switch(self) -> SwitchResult:
        self._psql.commit()
        return SwitchResult(None, self._target.advice(self._manifest, self._left_out.told))

    def _make_room(self) -> list[str]:
        """A partial backup holds tables and no schemas; its database is empty, but may hold types that it needs."""
        if not self._manifest.partial:
            return [CLEAR]
        names = dict.fromkeys(table.name.partition(".")[0] for table in self._manifest.tables)
        return [f"CREATE SCHEMA IF NOT EXISTS {schema.quoted(name)};" for name in names]

    def _choice(self, archive: OpenedArchive) -> Choice:
        self._left_out = naming(self._target.missing_roles, archive)
        kept = archive.contents.without_schemas(self._target.staying_schemas)
        return self._target.choice(kept.without(self._left_out.lines))
