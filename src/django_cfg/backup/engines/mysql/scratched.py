"""The restore that is whole or not at all: into a scratch schema, checked there, then switched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django_cfg.backup.engines.base import Database, Restoration, RestoreOptions, SwitchResult
from django_cfg.backup.engines.mysql import sessions, staging, switch
from django_cfg.backup.engines.mysql.error_text import refusing
from django_cfg.backup.engines.mysql.in_place import counted
from django_cfg.backup.engines.mysql.load import Loader
from django_cfg.backup.engines.mysql.session import Session
from django_cfg.backup.engines.mysql.stored_code.contents import charset, contents
from django_cfg.backup.engines.mysql.stored_code.create import Made, try_out
from django_cfg.backup.engines.mysql.stored_code.parser import Item
from django_cfg.backup.engines.mysql.switch_plan import TABLE, Plan
from django_cfg.backup.engines.mysql.verification_query import ask, entry
from django_cfg.backup.engines.table_comparison import compare_tables
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.stream import Readable

AS_IT_WAS = "The database is as it was."


class Scratched(Restoration):
    """:param old_code: what the database has besides tables, gathered when it is asked for."""

    def __init__(
        self,
        database: Database,
        session: Session,
        loader: Loader,
        new: str,
        old_code: Callable[[], Sequence[Item]],
        options: RestoreOptions,
    ) -> None:
        self._database = database
        self._alias = database.alias
        self._options = options
        self._session = session
        self._loader = loader
        self._new = new
        self._old_code = old_code
        self._made = Made()
        self._partial = False

    @property
    def staging_settings(self) -> Mapping[str, Any]:
        return entry(self._database, self._new)

    @property
    def tool(self) -> tuple[str, str]:
        return self._loader.tool.name, self._loader.tool.version

    def load(self, plain: Readable) -> None:
        with refusing(self._alias, AS_IT_WAS):
            self._loader.load(plain)

    def check(self, manifest: Manifest) -> None:
        self._partial = manifest.partial
        with refusing(self._alias, AS_IT_WAS):
            compare_tables(manifest.tables, counted(self._session, self._new, but=staging.SIGN), manifest.name)
            self._made = try_out(self._session, self._new, self._loader.items)

    def fetch_value(self, query: str) -> object:
        return ask(self._database, query, self._new)

    def switch(self) -> SwitchResult:
        session = self._session
        if self._options.disconnect:
            sessions.disconnect(session)
        with refusing(self._alias, AS_IT_WAS):
            old = [] if self._partial else self._old_code()
            plan = Plan(old, self._made.items, self._partial, charset(session, session.database))
            aside, advice = switch.begin(session, self._new, plan, self._alias)
        return set_aside(
            session, aside, plan, _joined(self._made.advice, advice), is_kept=not self._options.discard_old
        )


def set_aside(session: Session, aside: str, plan: Plan, advice: str, *, is_kept: bool = True) -> SwitchResult:
    """What to tell of the schema *aside*; one that is not wanted, or holds nothing of the database, is dropped.

    The restored data is in its place: nothing here fails any more.
    """
    if not is_kept or _holds_nothing(session, aside, plan):
        told = staging.dropped(session, aside)
        return SwitchResult(aside if told else None, _joined(advice, told))
    code = f"Its views, triggers, routines and events are kept as text in {aside}.{TABLE}." if plan.old else ""
    return SwitchResult(aside, _joined(advice, code))


def _holds_nothing(session: Session, aside: str, plan: Plan) -> bool:
    try:
        return not plan.old and not set(contents(session, aside).tables).difference(switch.OURS)
    except Exception:  # noqa: BLE001  the connection is lost: whoever looks later sees
        return False


def _joined(*texts: str) -> str:
    return " ".join(filter(None, texts))
