"""The restore where no scratch schema may be made: into the database itself, which is not whole until the end.

The services make a backup of it before, and name that backup when something goes wrong.
"""

from __future__ import annotations

from django_cfg.backup.engines.base import Database, Restoration, SwitchResult
from django_cfg.backup.engines.mysql import schema, sessions
from django_cfg.backup.engines.mysql.error_text import refusing
from django_cfg.backup.engines.mysql.load import Loader
from django_cfg.backup.engines.mysql.session import Session, quoted
from django_cfg.backup.engines.mysql.stored_code.contents import charset, clear, drop_code
from django_cfg.backup.engines.mysql.stored_code.create import Made, put, try_out
from django_cfg.backup.engines.mysql.verification_query import ask
from django_cfg.backup.engines.table_comparison import compare_tables
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.stream import Readable

_UNSAID = ""  # how the database is now: the services tell it, with the way back


class InPlace(Restoration):
    def __init__(
        self, database: Database, session: Session, loader: Loader, *, partial: bool, disconnect: bool
    ) -> None:
        self._database = database
        self._session = session
        self._loader = loader
        self._partial = partial
        self._disconnect = disconnect
        self._made = Made()

    def load(self, plain: Readable) -> None:
        session, name = self._session, self._session.database
        with refusing(self._database.alias, _UNSAID):
            usual = charset(session, name)
            if self._disconnect:
                sessions.disconnect(session)
            self.has_changed_target = True
            if not self._partial:  # such a one holds tables, and comes where there are none
                clear(session, name)
            self._loader.load(plain)
            self._made = try_out(session, name, self._loader.items)
            if not self._partial:
                drop_code(session, name, self._made.items)
            put(session, name, [item for item in self._made.items if item.kind == "event"])
            session.execute(f"ALTER DATABASE {quoted(name)} {usual}")

    def check(self, manifest: Manifest) -> None:
        with refusing(self._database.alias, _UNSAID):
            compare_tables(manifest.tables, counted(self._session, self._session.database), manifest.name)

    def fetch_value(self, query: str) -> object:
        return ask(self._database, query)

    def switch(self) -> SwitchResult:
        return SwitchResult(None, self._made.advice)


def counted(session: Session, name: str, *, but: str = "") -> dict[str, int]:
    """The rows of every table of the schema *name*, those of their past too."""
    found = (table for table in schema.tables(session, name) if table.name != but)
    return {table.name: schema.count(session, table, name, history=True) for table in found}
