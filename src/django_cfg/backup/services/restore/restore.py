"""Bringing data back: look at everything first, load into a scratch, check it, then switch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from django_cfg.backup.engines import engine_class
from django_cfg.backup.engines.base import DEFAULT_OPTIONS, Engine, Preflight, Restoration, RestoreOptions, SwitchResult
from django_cfg.backup.errors import RestoreRefused
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.models import BackupRun
from django_cfg.backup.pipeline.archive import unpack
from django_cfg.backup.pipeline.encryption.decrypt import require_key
from django_cfg.backup.pipeline.encryption.decryption_keys import CONFIGURED, Unlock, keys_of
from django_cfg.backup.pipeline.encryption.keyring import Keys
from django_cfg.backup.process.deferred_signals import defer_signals
from django_cfg.backup.services.catalog.catalog import LATEST, Catalog, find, read_catalog
from django_cfg.backup.services.project.connections import close_connections
from django_cfg.backup.services.project.progress import SILENT, Progress, flowing
from django_cfg.backup.services.project.project import Project, current_project, identity
from django_cfg.backup.services.restore import pre_restore_backup
from django_cfg.backup.services.runs import history_database
from django_cfg.backup.services.runs.file_lock import source_lock
from django_cfg.backup.services.runs.restore_history import KIND, RecordedRestore, bury_the_dead, recorded
from django_cfg.backup.services.verification import migration_state
from django_cfg.backup.services.verification.restored_data import accept
from django_cfg.backup.services.verification.verify import read_through


@dataclass(frozen=True)
class RestorePlan:
    """What a restore would do, looked at and found possible; nothing has been touched."""

    project: Project
    catalog: Catalog
    manifest: Manifest
    target: str  # alias
    engine: Engine
    options: RestoreOptions
    preflight: Preflight
    backs_up_first: bool  # the old data would be lost otherwise
    keys: Keys  # that open it

    @property
    def crosses_sources(self) -> bool:
        return self.manifest.source != self.project.source(self.target)

    @property
    def migrations(self) -> str:
        """How the backup stands to the code, in words; empty when it fits."""
        return migration_state.compare(self.manifest.migrations)

    @property
    def holds_history(self) -> bool:
        """The history lives in the database that is restored."""
        return holds_history(self.project, self.engine)

    @property
    def replaces_history(self) -> bool:
        """The table of runs is itself among what is restored; else its rows are still those of today."""
        return self.holds_history and _chooses(self.options.tables, self.manifest, BackupRun._meta.db_table)


@dataclass(frozen=True)
class Restored:
    """A restore that came to its end."""

    switched: SwitchResult
    seconds: float  # from the beginning to the switch


Tell = Callable[[Restored], None]


def restore_backup(
    name: str = LATEST,
    *,
    database: str | None = None,
    to: str | None = None,
    tables: Sequence[str] = (),
    in_place: bool = False,
    disconnect: bool = False,
    discard_old: bool = False,
    unlock: Unlock = CONFIGURED,
    progress: Progress = SILENT,
) -> SwitchResult:
    """Restore the backup *name* without asking.

    :param tables: shell patterns; these tables alone, into the database as it is. Empty: everything.
    :param in_place: without a scratch beside the database, where the engine has such a form.
    :param disconnect: end the connections that stand in the way of the switch.
    :param discard_old: do not keep the old data.

    See :func:`plan_restore` for the others.
    """
    options = RestoreOptions(tuple(tables), in_place, disconnect, discard_old)
    plan = plan_restore(name, database=database, to=to, options=options, unlock=unlock, progress=progress)
    return carry_out(plan, progress).switched


def plan_restore(
    name: str = LATEST,
    *,
    database: str | None = None,
    to: str | None = None,
    options: RestoreOptions = DEFAULT_OPTIONS,
    unlock: Unlock = CONFIGURED,
    progress: Progress = SILENT,
) -> RestorePlan:
    """Look at all that can be known before a restore.

    Where nothing is loaded beside the target, the archive is read through now; else loading it is the check.

    :param name: a backup's name, an unambiguous beginning of it, or ``latest``.
    :param database: the alias whose backups *name* is looked for among.
    :param to: the alias to restore into; needed when the backup is of another project, environment or alias.
    :param unlock: what opens an encrypted backup beside what the configuration knows.
    :raises RestoreRefused: it cannot be restored there, or the target has to be named.
    :raises EncryptionError: it cannot be decrypted here.
    """
    project = current_project()
    catalog = read_catalog(project.storage)
    manifest = find(catalog, project, name, database)
    target = to or _own_target(project, manifest)
    engine = project.engine(target)
    _refuse_the_impossible(manifest, target, engine, options)
    keys = keys_of(project.config, unlock)
    _require_key(project, manifest, keys)
    close_connections(project, engine)  # ours are not in anybody's way
    preflight = engine.preflight(manifest, options)
    if not preflight.uses_staging:
        read_through(project.storage, manifest, engine, progress, keys=keys)
    backs_up_first = pre_restore_backup.is_wanted(engine, preflight, options)
    return RestorePlan(project, catalog, manifest, target, engine, options, preflight, backs_up_first, keys)


def carry_out(plan: RestorePlan, progress: Progress = SILENT, tell: Tell | None = None) -> Restored:
    """Restore as planned. Until the last step the target is as it was, unless the plan says otherwise.

    :param tell: called as soon as the data is back, before a signal that came meanwhile can interrupt.
    """
    target = plan.project.source(plan.target)
    with (
        source_lock(plan.project, target, KIND) as lock_file,
        recorded(target, plan.manifest, plan.options.tables, lock_file, in_target=plan.holds_history) as record,
    ):
        if record.row_id:
            bury_the_dead(plan.project, lock_file, living=record.row_id)
        before = None
        if plan.backs_up_first:
            before = pre_restore_backup.back_up_first(plan.project, plan.target, plan.manifest, progress)
        close_connections(plan.project, plan.engine)
        with (
            plan.engine.restoration(plan.manifest, plan.options) as restoration,
            pre_restore_backup.way_back(restoration, before, plan.target),
        ):
            _load(plan, restoration, progress)
            queries = plan.project.config.for_database(plan.manifest.source.database).verification_queries
            accept(restoration, plan.manifest, plan.target, queries, progress)
            restored = _switch(plan, restoration, record, progress, tell)
        if plan.replaces_history:
            history_database.reconcile(list(plan.catalog.backups))
    return restored


def _load(plan: RestorePlan, restoration: Restoration, progress: Progress) -> None:
    manifest = plan.manifest
    with (
        plan.project.storage.open(manifest.archive_key) as stored,
        flowing(progress, f"{plan.target}: reading {manifest.archive.key}", manifest.archive.size) as advance,
        unpack(stored, manifest.archive, manifest.compression, advance, manifest.encryption, plan.keys) as plain,
    ):
        restoration.load(plain)


def _switch(
    plan: RestorePlan, restoration: Restoration, record: RecordedRestore, progress: Progress, tell: Tell | None
) -> Restored:
    manifest = plan.manifest
    progress.say(f"{plan.target}: {len(manifest.tables)} tables, {manifest.rows:,} rows as backed up; switching")
    close_connections(plan.project, plan.engine)  # those that receivers of restore_checked opened
    with defer_signals():
        switched = restoration.switch()
        restored = Restored(switched, record.switched(switched))
        if tell:
            tell(restored)
    return restored


def _own_target(project: Project, manifest: Manifest) -> str:
    source = manifest.source
    if not project.owns(source):
        raise RestoreRefused(
            f"{manifest.name} is a backup of {source}, and this is {project.name}/{project.env}. "
            f"To restore it here, name the database it shall replace: --to {source.database}"
        )
    return source.database


def _refuse_the_impossible(manifest: Manifest, target: str, engine: Engine, options: RestoreOptions) -> None:
    needed = engine_class(manifest.engine.vendor, of=f"The backup {manifest.name}")
    if not isinstance(engine, needed):
        raise RestoreRefused(
            f"{manifest.name} is a {needed.name} backup, and the database {target!r} is {engine.name}: "
            "restore it into a database of its own kind (--to)."
        )
    if manifest.partial and not options.tables and not engine.is_empty():
        raise RestoreRefused(
            f"{manifest.name} holds only some tables (include_tables), so it is restored only into an empty database; "
            f"{target!r} has tables that would be lost. Name an empty one with --to, or the tables with --tables."
        )


def _require_key(project: Project, manifest: Manifest, keys: Keys) -> None:
    """
    :raises EncryptionError: the backup is encrypted, and what is here does not open it.
    """
    if manifest.encryption.method != "none":
        with project.storage.open(manifest.archive_key) as stored:
            require_key(stored, manifest.encryption, keys)


def _chooses(patterns: Sequence[str], manifest: Manifest, table: str) -> bool:
    """Whether the backup holds *table*, in any schema, and *patterns* of tables mean it; none: all are meant."""
    names = {stored.name for stored in manifest.tables if stored.name == table or stored.name.endswith(f".{table}")}
    spellings = {*names, table} if names else set()
    return any(fnmatchcase(spelling, pattern) for spelling in spellings for pattern in patterns or ("*",))


def holds_history(project: Project, engine: Engine) -> bool:
    """Whether the history lives in the database of *engine*."""
    alias = history_database.home()
    return alias in project.databases and identity(project.database(alias)) == engine.identity
