"""A restore through a staging schema: load, check, then switch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from django_cfg.backup.engines.base import Database, Restoration, RestoreOptions, Survey, SwitchResult
from django_cfg.backup.engines.connection_settings import merged_settings
from django_cfg.backup.engines.mysql import staging_schemas, switch
from django_cfg.backup.engines.mysql.connection import connect
from django_cfg.backup.engines.mysql.dump_loader import DumpLoader
from django_cfg.backup.engines.mysql.error_advice import explain_restore_errors
from django_cfg.backup.engines.mysql.error_text import get_error_number, get_error_text, remove_row_data_of
from django_cfg.backup.engines.mysql.schema import count_all_rows, get_charset, read_migrations
from django_cfg.backup.engines.mysql.session import Session, end_other_sessions
from django_cfg.backup.engines.mysql.stored_code.contents import list_contents
from django_cfg.backup.engines.mysql.stored_code.create import CreatedObjects, create_objects
from django_cfg.backup.engines.mysql.stored_code.parser import StoredObject
from django_cfg.backup.engines.mysql.switch import OWN_TABLES, PLAN, SwitchPlan
from django_cfg.backup.engines.table_comparison import compare_tables
from django_cfg.backup.errors import BackupError, VerificationFailed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.stream import Readable

_SIGNAL = 1644  # ER_SIGNAL_EXCEPTION
AS_IT_WAS = "The database is as it was."
Export = Callable[[], Sequence[StoredObject]]  # returns what the database has besides tables, when the switch needs it


class StagingRestoration(Restoration):
    """A restore into the schema of *loader*."""

    def __init__(
        self, database: Database, session: Session, loader: DumpLoader, options: RestoreOptions, export: Export
    ) -> None:
        self._database, self._session, self._loader, self._staging = database, session, loader, loader.schema
        self._options, self._export = options, export
        self._created = CreatedObjects()
        self._partial = False

    @property
    def staging_settings(self) -> Mapping[str, Any]:
        return {**merged_settings(self._database), "NAME": self._staging}

    def describe_sanitizer_error(self, error: Exception) -> str:
        is_raised = get_error_number(error) == _SIGNAL
        return "" if is_raised else get_error_text(error)  # else a trigger or a routine has chosen the words

    @property
    def tool(self) -> tuple[str, str]:
        return self._loader.tool.name, self._loader.tool.version

    def load(self, plain: Readable) -> None:
        with explain_restore_errors(self._database.alias, AS_IT_WAS):
            self._loader.load(plain)

    def survey(self) -> Survey:
        with explain_restore_errors(self._database.alias, AS_IT_WAS):
            counts = self._count_rows()
            return Survey(counts, read_migrations(self._session, counts, self._staging))

    def check(self, manifest: Manifest) -> Mapping[str, int]:
        self._partial = manifest.partial
        with explain_restore_errors(self._database.alias, AS_IT_WAS):
            counts = self._count_rows()
            compare_tables(manifest.tables, counts, manifest.name)
            self._created = create_objects(self._session, self._staging, self._loader.stored_objects)
        return counts

    def _count_rows(self) -> Mapping[str, int]:
        counts = count_all_rows(self._session, self._staging)
        counts.pop(staging_schemas.MARKER, None)
        return counts

    def fetch_value(self, query: str) -> object:
        return run_verification_query(replace(self._database, settings=self.staging_settings, connection={}), query)

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


def run_verification_query(database: Database, query: str) -> object:
    """Return the first value of *query*, None for no row, on a connection that cannot change anything.

    :raises VerificationFailed: the query fails.
    """
    with connect(database) as session:
        session.execute("SET SESSION sql_mode = DEFAULT", "START TRANSACTION READ ONLY")
        try:
            rows = session.fetch_rows(query)
        except BackupError:
            raise
        except Exception as error:  # drivers share no class but Exception
            remove_row_data_of(error)
            raise VerificationFailed(
                f"The verification query {query!r} fails on the restored data: {get_error_text(error)}."
            ) from error
    return rows[0][0] if rows else None


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
