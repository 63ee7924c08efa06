"""Drills: a backup is restored into a staging database, compared with its manifest, queried, and dropped.

Nothing here can replace data: a restore takes the place of its target by ``Restoration.switch``, which no drill calls.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from django_cfg.backup import signals
from django_cfg.backup.config.backup import MAIN_PLACE
from django_cfg.backup.engines import engine_class
from django_cfg.backup.engines.base import DEFAULT_OPTIONS, Engine, Preflight, Restoration, RestoreOptions, Survey
from django_cfg.backup.errors import RestoreRefused, RestoreUnderWay, StorageError, VerificationFailed
from django_cfg.backup.manifest import Manifest, Proof, Source, Table
from django_cfg.backup.pipeline.compression import require_library
from django_cfg.backup.pipeline.encryption.decryption_keys import NO_KEY, DecryptionKey, decryption_keys
from django_cfg.backup.pipeline.encryption.keyring import DecryptionKeys
from django_cfg.backup.pipeline.stream import Readable, drain
from django_cfg.backup.services.catalog.catalog import LATEST, find_backup
from django_cfg.backup.services.catalog.places import places_with, read_places
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.places import Place
from django_cfg.backup.services.project.progress import SILENT, Progress
from django_cfg.backup.services.project.project import Project, current_project
from django_cfg.backup.services.project.subject import public
from django_cfg.backup.services.runs.run import failure_reason
from django_cfg.backup.services.verification import migration_state
from django_cfg.backup.services.verification.drill_run import DrillRun
from django_cfg.backup.services.verification.proofs import publish_proof
from django_cfg.backup.services.verification.verify import advise_on_copy

_PAUSE = 10.0  # seconds


@public
def drill_backup(
    name: str = LATEST,
    *,
    database: str | None = None,
    skip: Sequence[str] = (),
    skip_failing: bool = False,
    jobs: int | None = None,
    trust_storage: bool = False,
    allow_unsigned: bool = False,
    from_place: str | None = None,
    decryption_key: DecryptionKey = NO_KEY,
    progress: Progress = SILENT,
) -> Proof:
    """Prove the backup *name* by restoring it into a staging database that is dropped afterwards.

    :param name: a backup's name, an unambiguous beginning of it, or ``latest``.
    :param database: the alias whose backups *name* is looked for among.
    :param skip: names or shell patterns of objects that hold no rows, to be left out in addition to ``drill_skip``.
    :param skip_failing: leave out policies, triggers, refreshes of materialized views, grants and comments that fail.
    :param jobs: sessions at the same time, where the engine uses several; None: ``restore_jobs``.
    :param trust_storage: load the archive without reading it completely before; its digests are compared at its end.
    :param allow_unsigned: also a backup that is not signed, although there is a signing key; never one signed badly.
    :param from_place: the name of the place to read; None: the first one that has it intact.
    :param decryption_key: what opens an encrypted backup in addition to the configuration.
    :param progress: is called while it goes on.
    :returns: the proof, which is kept in the storage.
    :raises VerificationFailed: it cannot be restored, or differs from its manifest; its proof says so.
    :raises BackupError: nothing was learned of the backup: no server, no permission, no space, no key.
    """
    project = current_project()
    catalog = read_places(project, from_place)
    manifest = find_backup(catalog, project, name, database)
    catalog.require_signature(manifest, allow_unsigned=allow_unsigned)
    keys = decryption_keys(project.config, decryption_key)
    options = RestoreOptions(skip=tuple(skip), skip_failing=skip_failing, jobs=jobs)
    place = places_with(project, catalog, manifest)[0]
    proof = drill(project, place, manifest, keys, progress, options=options, trust_storage=trust_storage)
    require_success(proof)
    return proof


def drill(
    project: Project,
    place: Place,
    manifest: Manifest,
    keys: DecryptionKeys,
    progress: Progress = SILENT,
    *,
    options: RestoreOptions = DEFAULT_OPTIONS,
    trust_storage: bool = False,
    patience: float | None = 0,
    trigger: str = "manual",
) -> Proof:
    """Drill *manifest*, keep the proof in the storage, and send the signal; it may be the proof of a failure.

    :param place: that the archive is read from.
    :param options: what is left out, in addition to what the configuration leaves out of drills.
    :param patience: seconds to wait for another restore or drill of the same database; None: do not wait, and send no
        signal that the other one goes on, since the drill is tried again.
    :raises RestoreUnderWay: the other one has not ended.
    :raises VerificationFailed: the drill failed, and the storage does not take the proof of that.
    :raises BackupError: nothing was learned of the backup, and nothing is written.
    """
    facts: dict[str, Any] = {"source": manifest.source, "manifest": manifest, "drill": True, "trigger": trigger}
    try:
        chosen = _choose_options(project, manifest, options)
        prove = partial(_prove, project, place, manifest, keys, progress, chosen, trust_storage=trust_storage)
        proof = _in_turn(prove, manifest, progress, patience or 0)
        if proof.succeeded:
            publish_proof(project, manifest, proof)
    except Exception as error:  # an interruption by a person is no failure, and is not sent
        if not isinstance(error, RestoreUnderWay) or patience is not None:
            signals.send_verification(signals.verification_failed, message=failure_reason(error), **facts)
        raise
    if proof.succeeded:
        message = f"{manifest.name} was restored and compared."
        signals.send_verification(signals.verification_succeeded, message=message, proof=proof, **facts)
    else:
        signals.send_verification(signals.verification_failed, message=drill_failure(proof), proof=proof, **facts)
        _publish_failure(project, manifest, proof)
    return proof


def require_drillable(project: Project, manifest: Manifest) -> None:
    """Check, without reading an archive, that :func:`survey` can restore *manifest*.

    :raises BackupError: it cannot.
    """
    engine, alias = _open_engine(project, manifest)
    _refuse_without_scratch(manifest, alias, engine.preflight(manifest, _choose_options(project, manifest)))


def survey(
    project: Project, manifest: Manifest, plain: AbstractContextManager[Readable], progress: Progress
) -> tuple[Survey, Sequence[str]]:
    """Restore an archive whose *manifest* names no tables yet into a staging database, and return what that holds then.

    Nothing is written to the storage, and no signal is sent.

    :param plain: its bytes, decrypted and decompressed.
    :returns: also what was left out of it, as the configuration says of drills.
    :raises VerificationFailed: the archive cannot be loaded.
    :raises RestoreFailed: the server refuses it.
    """
    engine, alias = _open_engine(project, manifest)
    options = _choose_options(project, manifest)
    _refuse_without_scratch(manifest, alias, engine.preflight(manifest, options))
    with engine.restoration(manifest, options) as restoration:
        _require_scratch(manifest, alias, restoration)
        with plain as reader:
            restoration.load(reader)
            drain(reader)
        progress.say(f"{manifest.name}: counting what was restored")
        found = restoration.survey()
        tables = tuple(Table(name=name, rows=rows, exact=True) for name, rows in found.rows.items())
        restoration.check(manifest.model_copy(update={"tables": tables}))  # it also makes what is not a table
        return found, restoration.skipped


def _open_engine(project: Project, manifest: Manifest) -> tuple[Engine, str]:
    """Return the engine of the database next to which *manifest* is restored, and its alias."""
    require_library(manifest.compression)
    alias = drill_target(project, manifest.source)
    engine = project.engine(alias)
    _refuse_another_kind(manifest, alias, engine)
    return engine, alias


def _publish_failure(project: Project, manifest: Manifest, proof: Proof) -> None:
    """Keep a failed proof; what was found is raised first, also where it cannot be kept."""
    try:
        publish_proof(project, manifest, proof)
    except StorageError as error:
        message = f"{drill_failure(proof)} The proof of that could not be written to the storage: {error}"
        raise VerificationFailed(message) from error


def require_success(proof: Proof) -> None:
    """
    :raises VerificationFailed: the drill has failed.
    """
    if not proof.succeeded:
        raise VerificationFailed(drill_failure(proof))


def drill_failure(proof: Proof) -> str:
    differences = "; ".join(proof.differences)
    where = f" from {proof.place}" if proof.place != MAIN_PLACE else ""
    return (
        f"The drill of {proof.name}{where} failed: {differences} Do not rely on this backup: if the cause is in the "
        "database, correct it there; then make a new backup and drill it."
    )


def drill_target(project: Project, source: Source) -> str:
    """Return the alias next to whose database a backup of *source* is restored.

    :raises RestoreRefused: it is another project's, and nothing says where.
    """
    if alias := project.config.verification.drill_alias_for(source.database):
        return alias
    if not project.owns(source):
        raise RestoreRefused(
            f"It is a backup of {source}, and this is {project.name}/{project.env}: name the database next to which it "
            "is to be drilled with BackupVerificationConfig.drill_alias."
        )
    return source.database


def _in_turn(prove: Callable[[], Proof], manifest: Manifest, progress: Progress, patience: float) -> Proof:
    """Prove in turn: several workers may drill next to one database."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return prove()
        except RestoreUnderWay as error:
            if time.monotonic() >= deadline:
                raise
            progress.say(f"{manifest.name}: waiting. {error}")
            time.sleep(_PAUSE)


def _choose_options(project: Project, manifest: Manifest, given: RestoreOptions = DEFAULT_OPTIONS) -> RestoreOptions:
    """Return the options of the drill: what is left out by *given* and by the configuration of the database."""
    config = project.config.for_database(manifest.source.database)
    return RestoreOptions(
        discard_old=True,  # there will be no old data to find room for
        skip=tuple(dict.fromkeys((*given.skip, *config.drill_skip))),
        skip_failing=given.skip_failing or config.drill_skip_failing,
        backup_settings=manifest.source != project.source(drill_target(project, manifest.source)),  # by drill_alias
        jobs=given.jobs,
    )


def _prove(
    project: Project,
    place: Place,
    manifest: Manifest,
    keys: DecryptionKeys,
    progress: Progress,
    options: RestoreOptions,
    *,
    trust_storage: bool,
) -> Proof:
    engine, alias = _open_engine(project, manifest)
    engine.refuse_skip(options)
    _refuse_without_scratch(manifest, alias, engine.preflight(manifest, options))
    at, begun = clock.now(), time.monotonic()
    with engine.restoration(manifest, options) as restoration:
        _require_scratch(manifest, alias, restoration)
        advice = advise_on_copy(project, place, manifest)
        drill_run = DrillRun(restoration, place.storage, manifest, keys, progress, if_damaged=advice)
        queries = project.config.for_database(manifest.source.database).verification_queries
        drill_run.run(queries, check_first=engine.runs_archives and not trust_storage)
        duration = time.monotonic() - begun
        version, (tool, tool_version) = drill_run.server_version(engine), restoration.tool
    return Proof(
        name=manifest.name,
        archive_sha256=manifest.digest,
        place=place.name,
        at=at,
        duration=round(duration, 3),
        succeeded=not drill_run.differences,
        differences=tuple(drill_run.differences),
        tables=drill_run.tables,
        rows=drill_run.rows,
        evidence=drill_run.evidence,
        queries=drill_run.queries,
        skipped=restoration.skipped,
        server_version=version,
        tool=tool,
        tool_version=tool_version,
        host=socket.gethostname(),
        migrations=migration_state.compare_migrations(manifest.migrations),
    )


def _refuse_another_kind(manifest: Manifest, alias: str, engine: Engine) -> None:
    needed = engine_class(manifest.engine.vendor, of=f"The backup {manifest.name}")
    if not isinstance(engine, needed):
        raise RestoreRefused(
            f"{manifest.name} is a {needed.name} backup, and {alias!r} is a {engine.name} database: no drill is made. "
            "Let BackupVerificationConfig.drill_alias name one of its own kind, as a dict where there are several: "
            f"{{{manifest.source.database!r}: ...}}."
        )


def _refuse_without_scratch(manifest: Manifest, alias: str, preflight: Preflight) -> None:
    """A restore in place would replace the data: no drill may begin one."""
    if not preflight.uses_staging:
        raise _no_scratch(manifest, alias, "; ".join(finding.text for finding in preflight.findings))


def _require_scratch(manifest: Manifest, alias: str, restoration: Restoration) -> None:
    """Once more: a permission may have been withdrawn since."""
    if restoration.staging_settings is None:
        raise _no_scratch(manifest, alias, "no scratch could be made")


def _no_scratch(manifest: Manifest, alias: str, why: str) -> RestoreRefused:
    return RestoreRefused(
        f"{manifest.name} cannot be drilled next to the database {alias!r}: a restore there goes into the database "
        f"itself, and nothing was touched ({why}). Let BackupVerificationConfig.drill_alias name a database whose "
        "role may create another one next to it."
    )
