"""Restoring: preflight, load into a staging database, check it, then switch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase
from functools import partial

from django_cfg.backup import signals
from django_cfg.backup.engines import engine_class
from django_cfg.backup.engines.base import DEFAULT_OPTIONS, Engine, Preflight, Restoration, RestoreOptions, SwitchResult
from django_cfg.backup.errors import EncryptionError, RestoreRefused, StorageError, UsageError, VerificationFailed
from django_cfg.backup.formatting import listed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.models import Run
from django_cfg.backup.pipeline.encryption.decryption_keys import NO_KEY, DecryptionKey, decryption_keys
from django_cfg.backup.pipeline.encryption.keyring import DecryptionKeys
from django_cfg.backup.process.deferred_signals import defer_signals
from django_cfg.backup.records import Record
from django_cfg.backup.services.catalog.archives import CheckedArchives, check_archives, load_archives, require_readable
from django_cfg.backup.services.catalog.catalog import LATEST, Catalog, find_backup
from django_cfg.backup.services.catalog.moments import find_backup_at
from django_cfg.backup.services.catalog.places import places_with, read_first_good, read_places
from django_cfg.backup.services.project.connections import close_connections
from django_cfg.backup.services.project.places import Place
from django_cfg.backup.services.project.progress import SILENT, Progress, byte_progress
from django_cfg.backup.services.project.project import Project, current_project, database_identity
from django_cfg.backup.services.project.subject import note_subject, public
from django_cfg.backup.services.restore import pre_restore_backup
from django_cfg.backup.services.restore.sanitize import (
    AS_CONFIGURED,
    SanitizeChoice,
    Sanitizer,
    choose_sanitizer,
    sanitize_restored_data,
)
from django_cfg.backup.services.runs import history_database
from django_cfg.backup.services.runs.history_database import refusal_logged
from django_cfg.backup.services.runs.lease import fail_dead_runs
from django_cfg.backup.services.runs.run import RecordedRun, failure_reason
from django_cfg.backup.services.verification import migration_state
from django_cfg.backup.services.verification.restored_data import check_restored_data
from django_cfg.backup.services.verification.verify import read_completely


@dataclass(frozen=True)
class RestoreRequest:
    """What is to be restored, and where; the parameters of :func:`restore_backup`."""

    name: str = LATEST
    at: datetime | None = None
    database: str | None = None
    to: str | None = None
    options: RestoreOptions = DEFAULT_OPTIONS
    trust_storage: bool = False
    allow_unsigned: bool = False
    from_place: str | None = None
    decryption_key: DecryptionKey = NO_KEY
    sanitizing: SanitizeChoice = AS_CONFIGURED


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
    keys: DecryptionKeys  # what opens it
    places: tuple[Place, ...]  # that have it intact, as far as is known; the first good one is used
    checked: CheckedArchives | None  # if they were read completely
    trust_storage: bool
    sanitizer: Sanitizer | None = None  # runs in the staging database

    @property
    def crosses_sources(self) -> bool:
        return self.manifest.source != self.project.source(self.target)

    @property
    def migrations(self) -> str:
        """How the backup compares with the code, in words; empty when it matches, or only some tables are restored.

        Those do not change what is applied.
        """
        return "" if self.options.tables else migration_state.compare_migrations(self.manifest.migrations)

    @property
    def left_out(self) -> str:
        """Of which tables the backup has no rows, in words; empty if there are none."""
        return describe_left_out(self.manifest) if not self.options.tables else ""

    @property
    def holds_history(self) -> bool:
        """The history lives in the database that is restored."""
        return holds_history(self.project, self.engine)

    @property
    def replaces_history(self) -> bool:
        """The table of runs is itself among what is restored; else its rows are still those of today."""
        return self.holds_history and _chooses(self.options.tables, self.manifest, Run._meta.db_table)


class RestoreReport(Record):
    """A restore that has succeeded."""

    restored: str | None  # the name of the backup; None: not known, after --resume
    to: str  # alias
    old_data: str | None = None  # where it is kept; None: there was none, or it was not to be kept
    advice: str = ""  # what the operator has to do now
    skipped: tuple[str, ...] = ()  # objects that were left out, as asked for
    seconds: float | None = None  # from the beginning to the switch
    sanitized_by: str | None = None  # the sanitizer that has changed the data; None: none has
    places_away: tuple[str, ...] = ()  # could not be read: a newer backup may be there


OnSwitch = Callable[[RestoreReport], None]


@public
def restore_backup(
    name: str = LATEST,
    *,
    at: datetime | None = None,
    database: str | None = None,
    to: str | None = None,
    tables: Sequence[str] = (),
    in_place: bool = False,
    disconnect: bool = False,
    discard_old: bool = False,
    skip: Sequence[str] = (),
    skip_failing: bool = False,
    jobs: int | None = None,
    trust_storage: bool = False,
    allow_unsigned: bool = False,
    from_place: str | None = None,
    decryption_key: DecryptionKey = NO_KEY,
    sanitize: str | None = None,
    unsanitized: bool = False,
    progress: Progress = SILENT,
) -> RestoreReport:
    """Restore the backup *name* without asking. The old data is kept, unless the engine cannot or *discard_old* is set.

    :param name: a backup's name, an unambiguous beginning of it, or ``latest``.
    :param at: instead of a name: the newest backup begun not later than this second, in ``TIME_ZONE`` if it is naive.
    :param database: the alias whose backups *name* is looked for among.
    :param to: the alias to restore into; None: that of the backup, which has to be of this project and environment.
    :param tables: shell patterns; these tables alone, into the database as it is. Empty: everything.
    :param in_place: into the database itself, without a staging database, where the engine supports it.
    :param disconnect: end the connections that stand in the way of the switch.
    :param discard_old: do not keep the old data.
    :param skip: names or shell patterns of objects that hold no rows, to be left out where the engine supports it.
    :param skip_failing: leave out policies, triggers, refreshes of materialized views, grants and comments that fail.
    :param jobs: sessions at the same time, where the engine uses several; None: ``restore_jobs``.
    :param trust_storage: load the archive without reading it completely before; its digests are compared at its end.
    :param allow_unsigned: also a backup that is not signed, although there is a signing key; never one signed badly.
    :param from_place: the name of the place to read; None: the first one that has it good.
    :param decryption_key: what opens an encrypted backup in addition to the configuration.
    :param sanitize: what changes the data before it replaces the old: a dotted path, or the path of a ``.sql`` file.
    :param unsanitized: leave the data as it is, also that of production elsewhere, and that of another source.
    :param progress: is called while it goes on.
    :returns: where the old data is kept, and what to do now.
    :raises RestoreRefused: it cannot be restored there; nothing was touched.
    :raises RestoreFailed: it failed; the message says how the database is.
    :raises VerificationFailed: the bytes are not those that were stored, or there is a signing key and it did not sign.
    :raises BackupNotFound: there is no such backup, or none that old.
    """
    options = RestoreOptions(tuple(tables), in_place, disconnect, discard_old, tuple(skip), skip_failing, jobs=jobs)
    request = RestoreRequest(name, at, database, to, options, trust_storage, allow_unsigned, from_place, decryption_key)
    return _restore(replace(request, sanitizing=SanitizeChoice(sanitize, unsanitized)), progress)


def _restore(request: RestoreRequest, progress: Progress) -> RestoreReport:
    return execute_restore(plan_restore(request, progress), progress)


def plan_restore(request: RestoreRequest, progress: Progress = SILENT) -> RestorePlan:
    """Find out all that can be known before a restore.

    Where no staging database is used, the archive is read completely now, else before it is loaded.
    See :func:`preview_restore` for what else is checked.

    :param progress: of that reading.
    """
    plan = preview_restore(request)
    if plan.preflight.uses_staging:
        return plan
    place, checked = read_first_good(
        plan.places,
        lambda storage: read_completely(storage, plan.manifest, plan.engine, progress, keys=plan.keys),
        progress,
    )
    return replace(plan, places=(place,), checked=checked)


def preview_restore(request: RestoreRequest) -> RestorePlan:
    """Like :func:`plan_restore`, without reading the archive: to look at, and not to be executed.

    :raises RestoreRefused: it cannot be restored there, or the target has to be named.
    :raises VerificationFailed: there is a signing key, and it did not sign the backup.
    :raises EncryptionError: it cannot be decrypted here.
    """
    project, options = current_project(), request.options
    catalog = read_places(project, request.from_place)
    manifest = _chosen(catalog, project, request)
    catalog.require_signature(manifest, allow_unsigned=request.allow_unsigned)
    target = request.to or _own_target(project, manifest)
    note_subject(database=target)
    engine = project.engine(target)
    _refuse_the_impossible(manifest, target, engine, options)
    keys = decryption_keys(project.config, request.decryption_key)
    places = _readable_places(project, catalog, manifest, keys)
    close_connections(project, engine)  # ours are not in anybody's way
    preflight = engine.preflight(manifest, options)
    return RestorePlan(
        project,
        catalog,
        manifest,
        target,
        engine,
        options,
        preflight,
        backs_up_first=pre_restore_backup.needs_backup_first(engine, preflight, options),
        keys=keys,
        places=places,
        checked=None,
        trust_storage=request.trust_storage,
        sanitizer=choose_sanitizer(project, manifest, target, options, preflight, request.sanitizing),
    )


def _chosen(catalog: Catalog, project: Project, request: RestoreRequest) -> Manifest:
    if request.at is None:
        return find_backup(catalog, project, request.name, request.database)
    if request.name != LATEST:
        raise UsageError(f"Restore {request.name!r} or the newest backup of a moment: give one of the two.")
    return find_backup_at(catalog, project, request.at, request.database)


def execute_restore(plan: RestorePlan, progress: Progress = SILENT, on_switch: OnSwitch | None = None) -> RestoreReport:
    """Restore as planned. Until the last step the target is as it was, unless the plan says otherwise.

    :param on_switch: called as soon as the data is back, before a signal that came in the meantime can interrupt.
    """
    project, manifest = plan.project, plan.manifest
    target = project.source(plan.target)
    outcome = _Outcome(plan)
    run = RecordedRun(
        project,
        target,
        Run.Kind.RESTORE,
        progress=progress,
        in_target=plan.holds_history,
        ended=outcome.announce,
        name=manifest.name,
        tables=", ".join(plan.options.tables),
    )
    with run.recorded():
        try:
            with run.interruptible():
                if run.row_id:
                    with refusal_logged("fail the runs of dead restores"):
                        fail_dead_runs(project, Run.Kind.RESTORE, mine=run.lock_file, living=run.row_id)
                report = _carry_out(plan, run, outcome, on_switch)
        finally:
            if plan.replaces_history and outcome.is_switched:
                history_database.reconcile(list(plan.catalog.backups))
    return report


def _carry_out(plan: RestorePlan, run: RecordedRun, outcome: _Outcome, on_switch: OnSwitch | None) -> RestoreReport:
    """Load, check and switch."""
    project, manifest, progress = plan.project, plan.manifest, run.progress
    place, checked = _check_archives(plan, progress)
    before = None
    if plan.backs_up_first:
        before = pre_restore_backup.back_up_first(project, plan.target, manifest, progress)
    close_connections(project, plan.engine)
    with (
        plan.engine.restoration(manifest, plan.options) as restoration,
        pre_restore_backup.explain_recovery(restoration, before, plan.target),
    ):
        run.can_be_cancelled = lambda: not restoration.has_changed_target
        _load(plan, place, restoration, checked, progress)
        queries = project.config.for_database(manifest.source.database).verification_queries
        sanitize = partial(sanitize_restored_data, plan.sanitizer, restoration, plan.target, progress)
        check_restored_data(restoration, manifest, plan.target, queries, progress, sanitize=sanitize)
        then = ", then sanitised" if plan.sanitizer else ""
        rows = f"{len(manifest.tables)} tables, {manifest.rows:,} rows"
        progress.say(f"{plan.target}: {rows} as backed up{then}; switching")
        close_connections(project, plan.engine)  # those that receivers of restore_checked opened
        with defer_signals():
            report = outcome.switched(restoration.switch())
            run.succeed(old_data=report.old_data or "", message=_describe_changes(report))
            if on_switch:
                on_switch(report)
    return report


class _Outcome:
    """How a restore ended, and its signals."""

    def __init__(self, plan: RestorePlan) -> None:
        self._plan = plan
        self._begun = time.monotonic()
        self._report: RestoreReport | None = None

    @property
    def is_switched(self) -> bool:
        """Whether the data is back."""
        return self._report is not None

    def switched(self, result: SwitchResult) -> RestoreReport:
        """Note that the data is back, whatever follows."""
        self._report = RestoreReport(
            restored=self._plan.manifest.name,
            to=self._plan.target,
            old_data=result.old_data,
            advice=result.advice,
            skipped=result.skipped,
            seconds=round(time.monotonic() - self._begun, 3),
            sanitized_by=self._plan.sanitizer.name if self._plan.sanitizer else None,
            places_away=tuple(self._plan.catalog.away),
        )
        return self._report

    def announce(self, error: BaseException | None) -> None:
        """Send how the restore ended."""
        facts = {"manifest": self._plan.manifest, "database": self._plan.target}
        if self._report:
            report = self._report
            signals.send(signals.restore_succeeded, **facts, old_data=report.old_data, seconds=report.seconds)
        elif error:
            signals.send(signals.restore_failed, **facts, message=failure_reason(error))


def _readable_places(project: Project, catalog: Catalog, manifest: Manifest, keys: DecryptionKeys) -> tuple[Place, ...]:
    """Return the places whose archive can be opened, as far as its beginning says.

    :raises BackupError: there is none; why the first one's cannot.
    """
    found, failures = [], []
    for place in places_with(project, catalog, manifest):
        try:
            require_readable(place.storage, manifest, keys)
            found.append(place)
        except (EncryptionError, StorageError) as error:
            failures.append(error)
    if not found:
        raise failures[0]
    return tuple(found)


def _check_archives(plan: RestorePlan, progress: Progress) -> tuple[Place, CheckedArchives | None]:
    """Compare the stored bytes with the manifest before any of them can run on a server.

    :returns: the first place whose bytes are good, and what holds the second reading to the first one; None: the
        archive is only compared while it is loaded.
    """
    first, *others = plan.places
    if plan.checked or plan.trust_storage or not (others or plan.engine.runs_archives):
        return first, plan.checked
    try:
        return read_first_good(plan.places, lambda storage: check_archives(storage, plan.manifest, progress), progress)
    except VerificationFailed as error:
        raise VerificationFailed(
            f"{error} Nothing of it was run; the database {plan.target!r} was not touched."
        ) from error


def _load(
    plan: RestorePlan, place: Place, restoration: Restoration, checked: CheckedArchives | None, progress: Progress
) -> None:
    manifest = plan.manifest
    try:
        with byte_progress(progress, f"{plan.target}: reading {manifest.archive.key}", manifest.size) as advance:
            load_archives(restoration, place.storage, manifest, plan.keys, advance, checked)
    except VerificationFailed as error:
        if restoration.has_changed_target:
            raise
        raise VerificationFailed(
            f"{manifest.name} in {place}: {error} The database {plan.target!r} is as it was. `backup_list` shows the "
            "other backups, and other copies of this one."
        ) from error


def describe_left_out(manifest: Manifest) -> str:
    """Say of which tables *manifest* has no rows; empty if there are none."""
    if not manifest.excluded:
        return ""
    return f"It holds no rows of {listed(manifest.excluded)}: a restore brings none of them back."


def describe_skipped(skipped: Sequence[str]) -> str:
    """Return what was left out, for the command and the history; empty if nothing was."""
    return f"Left out: {'; '.join(skipped)}." if skipped else ""


def _describe_changes(report: RestoreReport) -> str:
    """Return how the restored data differs from the backup, for the history; empty if it does not."""
    sanitized = f"Sanitised by {report.sanitized_by}." if report.sanitized_by else ""
    return " ".join(filter(None, (sanitized, describe_skipped(report.skipped))))


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
    engine.refuse_skip(options)
    if manifest.partial and not options.tables and not engine.is_empty():
        raise RestoreRefused(
            f"{manifest.name} holds only some tables (include_tables), so it is restored only into an empty database; "
            f"{target!r} has tables that would be lost. Name an empty one with --to, or the tables with --tables."
        )


def _chooses(patterns: Sequence[str], manifest: Manifest, table: str) -> bool:
    """Whether the backup holds *table*, in any schema, and *patterns* of tables mean it; none: all are meant."""
    names = {stored.name for stored in manifest.tables if stored.name == table or stored.name.endswith(f".{table}")}
    spellings = {*names, table} if names else set()
    return any(fnmatchcase(spelling, pattern) for spelling in spellings for pattern in patterns or ("*",))


def holds_history(project: Project, engine: Engine) -> bool:
    """Whether the history lives in the database of *engine*."""
    alias = history_database.history_alias()
    return alias in project.databases and database_identity(project.database(alias)) == engine.identity
