"""Bringing data back: look at everything first, load into a scratch, check it, then switch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.db import connections

from django_cfg.backup.engines import engine_class
from django_cfg.backup.engines.base import Engine, Switched
from django_cfg.backup.errors import EncryptionError, RestoreRefused
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.archive import unpack
from django_cfg.backup.services import history, migrations
from django_cfg.backup.services.catalog import LATEST, Catalog, find, read_catalog
from django_cfg.backup.services.interruption import uninterrupted
from django_cfg.backup.services.progress import SILENT, Progress, flowing
from django_cfg.backup.services.project import Project, current_project, identity
from django_cfg.backup.services.safety import safeguarded


@dataclass(frozen=True)
class RestorePlan:
    """What a restore would do, looked at and found possible; nothing has been touched."""

    project: Project
    catalog: Catalog
    manifest: Manifest
    target: str  # alias
    engine: Engine

    @property
    def crosses_sources(self) -> bool:
        return self.manifest.source != self.project.source(self.target)

    @property
    def migrations(self) -> str:
        """How the backup stands to the code, in words; empty when it fits."""
        return migrations.compare(self.manifest.migrations)


def restore_backup(
    name: str = LATEST, *, database: str | None = None, to: str | None = None, progress: Progress = SILENT
) -> Switched:
    """Restore the backup *name* without asking; see :func:`plan_restore` for the parameters."""
    return carry_out(plan_restore(name, database=database, to=to), progress)


def plan_restore(name: str = LATEST, *, database: str | None = None, to: str | None = None) -> RestorePlan:
    """Look at all that can be known before a restore.

    :param name: a backup's name, an unambiguous beginning of it, or ``latest``.
    :param database: the alias whose backups *name* is looked for among.
    :param to: the alias to restore into; needed when the backup is of another project, environment or alias.
    :raises RestoreRefused: it cannot be restored there, or the target has to be named.
    """
    project = current_project()
    catalog = read_catalog(project.storage)
    manifest = find(catalog, project, name, database)
    target = to or _own_target(project, manifest)
    engine = project.engine(target)
    plan = RestorePlan(project, catalog, manifest, target, engine)
    _refuse_the_impossible(plan)
    return plan


def carry_out(
    plan: RestorePlan, progress: Progress = SILENT, tell: Callable[[Switched], None] | None = None
) -> Switched:
    """Restore as planned. Until the last step the target is as it was.

    :param tell: called as soon as the data is back, before a signal that came meanwhile can interrupt.
    """
    manifest = plan.manifest
    connections[plan.target].close()
    with (
        plan.engine.restoration(manifest) as restoration,
        safeguarded(restoration, manifest, plan.project, plan.target, progress),
    ):
        with (
            plan.project.storage.open(manifest.archive_key) as stored,
            flowing(progress, f"{plan.target}: reading {manifest.archive.key}", manifest.archive.size) as advance,
            unpack(stored, manifest.archive, manifest.compression, advance) as plain,
        ):
            restoration.load(plain)
        progress.say(f"{plan.target}: checking the restored data")
        restoration.check(manifest)
        progress.say(f"{plan.target}: {len(manifest.tables)} tables, {manifest.rows:,} rows as backed up; switching")
        with uninterrupted():
            switched = restoration.switch()
            if tell:
                tell(switched)
    _reconcile_history(plan)
    return switched


def resume_restore(alias: str = "default") -> Switched:
    """Finish a restore of the database *alias* that was interrupted while it switched to the new data.

    :raises UsageError: none was.
    """
    engine = current_project().engine(alias)
    connections[alias].close()
    with uninterrupted():
        return engine.resume()


def _own_target(project: Project, manifest: Manifest) -> str:
    source = manifest.source
    if not project.owns(source):
        raise RestoreRefused(
            f"{manifest.name} is a backup of {source}, and this is {project.name}/{project.env}. "
            f"To restore it here, name the database it shall replace: --to {source.database}"
        )
    return source.database


def _refuse_the_impossible(plan: RestorePlan) -> None:
    manifest = plan.manifest
    if manifest.encryption.method != "none":
        raise EncryptionError(f"{manifest.name} is encrypted, and this version cannot decrypt; use gpg by hand.")
    needed = engine_class(manifest.engine.vendor, of=f"The backup {manifest.name}")
    if not isinstance(plan.engine, needed):
        raise RestoreRefused(
            f"{manifest.name} is a {needed.name} backup, and the database {plan.target!r} is {plan.engine.name}: "
            "restore it into a database of its own kind (--to)."
        )
    if manifest.partial and not plan.engine.is_empty():
        raise RestoreRefused(
            f"{manifest.name} holds only some tables (include_tables), so it is restored only into an empty database; "
            f"{plan.target!r} has tables that would be lost. Name an empty one with --to."
        )


def _reconcile_history(plan: RestorePlan) -> None:
    """The restored history may hold runs that were going on in the backup."""
    alias = history.home()
    if alias in plan.project.databases and identity(plan.project.database(alias)) == plan.engine.identity:
        history.reconcile(list(plan.catalog.backups))
