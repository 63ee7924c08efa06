"""A restore through a staging schema: loaded and checked there, then switched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django_cfg.backup.engines.base import Database, Restoration, RestoreOptions, SwitchResult
from django_cfg.backup.engines.mysql import staging_schemas, switch
from django_cfg.backup.engines.mysql.dump_loader import DumpLoader
from django_cfg.backup.engines.mysql.error_advice import explain_restore_errors
from django_cfg.backup.engines.mysql.schema import count_all_rows, get_charset
from django_cfg.backup.engines.mysql.session import Session, end_other_sessions
from django_cfg.backup.engines.mysql.stored_code.contents import list_contents
from django_cfg.backup.engines.mysql.stored_code.create import CreatedObjects, create_objects
from django_cfg.backup.engines.mysql.stored_code.parser import StoredObject
from django_cfg.backup.engines.mysql.switch import OWN_TABLES, PLAN, SwitchPlan
from django_cfg.backup.engines.mysql.verification_query import build_settings, run_verification_query
from django_cfg.backup.engines.table_comparison import compare_tables
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.stream import Readable

AS_IT_WAS = "The database is as it was."


class StagingRestoration(Restoration):
    """A restore into the schema *staging*.

    :param export: returns what the database has besides tables, when the switch needs it.
    """

    def __init__(
        self,
        database: Database,
        session: Session,
        loader: DumpLoader,
        staging: str,
        options: RestoreOptions,
        export: Callable[[], Sequence[StoredObject]],
    ) -> None:
        self._database, self._session, self._loader = database, session, loader
        self._staging, self._options, self._export = staging, options, export
        self._created = CreatedObjects()
        self._partial = False

    @property
    def staging_settings(self) -> Mapping[str, Any]:
        return build_settings(self._database, self._staging)

    @property
    def tool(self) -> tuple[str, str]:
        return self._loader.tool.name, self._loader.tool.version

    def load(self, plain: Readable) -> None:
        with explain_restore_errors(self._database.alias, AS_IT_WAS):
            self._loader.load(plain)

    def check(self, manifest: Manifest) -> None:
        self._partial = manifest.partial
        with explain_restore_errors(self._database.alias, AS_IT_WAS):
            counts = count_all_rows(self._session, self._staging)
            counts.pop(staging_schemas.MARKER, None)
            compare_tables(manifest.tables, counts, manifest.name)
            self._created = create_objects(self._session, self._staging, self._loader.stored_objects)

    def fetch_value(self, query: str) -> object:
        return run_verification_query(self._database, query, self._staging)

    def switch(self) -> SwitchResult:
        session = self._session
        if self._options.disconnect:
            end_other_sessions(session)
        with explain_restore_errors(self._database.alias, AS_IT_WAS):
            old = [] if self._partial else self._export()
            plan = SwitchPlan(old, self._created.objects, self._partial, get_charset(session, session.database))
            kept, advice = switch.begin_switch(session, self._staging, plan)
        return report_kept_data(
            session, kept, plan, _join(self._created.advice, advice), discard_old=self._options.discard_old
        )


def report_kept_data(
    session: Session, kept: str, plan: SwitchPlan, advice: str, *, discard_old: bool = False
) -> SwitchResult:
    """Return the result of a switch; drop the schema *kept* if it is not wanted, or holds nothing of the database.

    The restore has succeeded: nothing fails here.
    """
    if discard_old or _is_empty(session, kept, plan):
        failure = staging_schemas.drop_or_advise(session, kept)
        return SwitchResult(kept if failure else None, _join(advice, failure))
    text = f"Its views, triggers, routines and events are kept as text in {kept}.{PLAN}." if plan.old else ""
    return SwitchResult(kept, _join(advice, text))


def _is_empty(session: Session, kept: str, plan: SwitchPlan) -> bool:
    try:
        return not plan.old and not set(list_contents(session, kept).tables).difference(OWN_TABLES)
    except Exception:  # noqa: BLE001  the connection is lost: the schema stays
        return False


def _join(*sentences: str) -> str:
    return " ".join(filter(None, sentences))
