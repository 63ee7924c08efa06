"""A restore in place, where no staging schema may be created: the database is incomplete until the end.

The services back it up first, and name that backup if the restore fails.
"""

from __future__ import annotations

from collections.abc import Mapping

from django_cfg.backup.engines.base import Database, Restoration, RestoreOptions, SwitchResult
from django_cfg.backup.engines.mysql.dump_loader import DumpLoader
from django_cfg.backup.engines.mysql.error_advice import explain_restore_errors
from django_cfg.backup.engines.mysql.schema import count_all_rows, get_charset
from django_cfg.backup.engines.mysql.session import Session, end_other_sessions, quote_name
from django_cfg.backup.engines.mysql.staging import run_verification_query
from django_cfg.backup.engines.mysql.stored_code.contents import drop_contents, drop_other_objects
from django_cfg.backup.engines.mysql.stored_code.create import CreatedObjects, create_objects, replace_objects
from django_cfg.backup.engines.table_comparison import compare_tables
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.stream import Readable


class InPlaceRestoration(Restoration):
    def __init__(
        self, database: Database, session: Session, loader: DumpLoader, options: RestoreOptions, *, partial: bool
    ) -> None:
        self._database, self._session, self._loader = database, session, loader
        self._options, self._partial = options, partial
        self._created = CreatedObjects()

    def load(self, plain: Readable) -> None:
        session, name = self._session, self._session.database
        with explain_restore_errors(session.alias):
            charset = get_charset(session, name)
            if self._options.disconnect:
                end_other_sessions(session)
            self.has_changed_target = True
            if not self._partial:  # else the database has no tables, and the rest of it stays
                drop_contents(session, name)
            self._loader.load(plain)
            self._created = create_objects(session, name, self._loader.stored_objects)
            if not self._partial:
                drop_other_objects(session, name, self._created.objects)
            replace_objects(session, name, [item for item in self._created.objects if item.kind == "event"])
            session.execute(f"ALTER DATABASE {quote_name(name)} {charset}")

    def check(self, manifest: Manifest) -> Mapping[str, int]:
        session = self._session
        with explain_restore_errors(session.alias):
            counts = count_all_rows(session, session.database)
            compare_tables(manifest.tables, counts, manifest.name)
        return counts

    def fetch_value(self, query: str) -> object:
        return run_verification_query(self._database, query)

    def switch(self) -> SwitchResult:
        return SwitchResult(None, self._created.advice)
