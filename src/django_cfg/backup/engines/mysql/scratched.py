"""The restore that is whole or not at all: into a scratch schema, checked there, then switched."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django_cfg.backup.engines.base import Database, Restoration, Switched, compare_tables
from django_cfg.backup.engines.mysql import scratch, switch
from django_cfg.backup.engines.mysql.code import Item
from django_cfg.backup.engines.mysql.contents import charset, contents
from django_cfg.backup.engines.mysql.inplace import counted
from django_cfg.backup.engines.mysql.load import Loader
from django_cfg.backup.engines.mysql.make import Made, try_out
from django_cfg.backup.engines.mysql.plan import TABLE, Plan
from django_cfg.backup.engines.mysql.session import Session
from django_cfg.backup.engines.mysql.words import refusing
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.stream import Readable

_AS_IT_WAS = "The database is as it was."


class Scratched(Restoration):
    """:param old_code: what the database has besides tables, gathered when it is asked for."""

    def __init__(
        self, database: Database, session: Session, loader: Loader, new: str, old_code: Callable[[], Sequence[Item]]
    ) -> None:
        self._alias = database.alias
        self._session = session
        self._loader = loader
        self._new = new
        self._old_code = old_code
        self._made = Made()
        self._partial = False

    def load(self, plain: Readable) -> None:
        with refusing(self._alias, _AS_IT_WAS):
            self._loader.load(plain)

    def check(self, manifest: Manifest) -> None:
        self._partial = manifest.partial
        with refusing(self._alias, _AS_IT_WAS):
            compare_tables(manifest.tables, counted(self._session, self._new, but=scratch.SIGN), manifest.name)
            self._made = try_out(self._session, self._new, self._loader.items)

    def switch(self) -> Switched:
        session = self._session
        with refusing(self._alias, _AS_IT_WAS):
            old = [] if self._partial else self._old_code()
            plan = Plan(old, self._made.items, self._partial, charset(session, session.database))
            aside = switch.begin(session, self._new, plan, self._alias)
        return set_aside(session, aside, plan, self._made.advice)


def set_aside(session: Session, aside: str, plan: Plan, advice: str) -> Switched:
    """What to tell of the schema *aside*; one that holds nothing of the database is dropped."""
    if not plan.old and not [name for name in contents(session, aside).tables if name not in switch.OURS]:
        scratch.discard(session, aside)
        return Switched(None, advice)
    code = f"Its views, triggers, routines and events are kept as text in {aside}.{TABLE}." if plan.old else ""
    return Switched(aside, " ".join(filter(None, (advice, code))))
