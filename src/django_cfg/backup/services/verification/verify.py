"""Verifying: the stored bytes, then the plain ones to their end, then the format's own rules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django_cfg.backup import signals
from django_cfg.backup.engines import engine_class
from django_cfg.backup.engines.base import Engine
from django_cfg.backup.errors import KeyMissing, VerificationFailed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.compression import require_library
from django_cfg.backup.pipeline.encryption.decryption_keys import NO_KEY, DecryptionKey, decryption_keys
from django_cfg.backup.pipeline.encryption.keyring import USERS_KEYRING, DecryptionKeys
from django_cfg.backup.services.catalog.archives import CheckedArchives, check_archive, open_archive
from django_cfg.backup.services.catalog.catalog import LATEST, find_backup
from django_cfg.backup.services.catalog.places import places_with, read_places
from django_cfg.backup.services.project.places import Place
from django_cfg.backup.services.project.progress import SILENT, Progress, byte_progress
from django_cfg.backup.services.project.project import Project, current_project
from django_cfg.backup.services.project.subject import public
from django_cfg.backup.services.runs.run import failure_reason
from django_cfg.backup.storage.base import Storage


@public
def verify_backup(
    name: str = LATEST,
    *,
    database: str | None = None,
    from_place: str | None = None,
    progress: Progress = SILENT,
    decryption_key: DecryptionKey = NO_KEY,
) -> Manifest:
    """Read a backup to its last byte and check it: the stored bytes, what they hold, and the rules of its format.

    :param name: a backup's name, an unambiguous beginning of it, or ``latest``.
    :param database: the alias whose backups *name* is looked for among.
    :param from_place: the name of the place to read; None: the first one that has it intact.
    :param progress: is called while it goes on.
    :param decryption_key: what opens an encrypted backup in addition to the configuration.
    :returns: the record of the backup, which is good.
    :raises VerificationFailed: it is not what was stored, or not a complete dump.
    :raises KeyMissing: the stored bytes are good; what they hold cannot be checked here, without the private key.
    """
    project = current_project()
    catalog = read_places(project, from_place)
    manifest = find_backup(catalog, project, name, database)
    catalog.require_signature(manifest, allow_unsigned=True)  # reading runs nothing
    keys = decryption_keys(project.config, decryption_key)
    verify(project, places_with(project, catalog, manifest)[0], manifest, keys, progress)
    return manifest


def verify(
    project: Project,
    place: Place,
    manifest: Manifest,
    keys: DecryptionKeys = USERS_KEYRING,
    progress: Progress = SILENT,
    *,
    trigger: str = "manual",
) -> None:
    """Read the copy of *manifest* in *place*, and send how that ended.

    :raises VerificationFailed: *manifest*'s archive is not what was stored, or not a complete dump.
    :raises ConfigurationError: what decompresses it is not installed.
    :raises KeyMissing: it is what was stored; the rest needs a private key that is not on this machine.
    """
    engine = engine_class(manifest.engine.vendor, of=f"The backup {manifest.name}")
    with (
        _signalled(manifest, trigger),
        _copy_named(project, place, manifest),
        byte_progress(progress, f"{manifest.name}: verifying", 2 * manifest.size) as advance,
    ):
        require_library(manifest.compression)
        for part in manifest.parts:
            checkpoints = check_archive(place.storage, part, advance)
            with open_archive(place.storage, part, keys, advance, checkpoints) as plain:
                engine.check_archive(plain, part, project.config.tools_dir)


def read_completely(
    storage: Storage,
    manifest: Manifest,
    engine: Engine,
    progress: Progress = SILENT,
    *,
    keys: DecryptionKeys = USERS_KEYRING,
) -> CheckedArchives:
    """Like :func:`verify` in one pass over the stored bytes, both digests compared at its end; and whether *engine* can
    load what they hold.

    :returns: what makes sure that the same bytes are loaded later.
    :raises RestoreRefused: it cannot.
    """
    checked = {}
    with byte_progress(progress, f"{manifest.name}: reading it through", manifest.size) as advance:
        for part in manifest.parts:
            with open_archive(storage, part, keys, advance) as plain:
                engine.check_loadable(plain, part)
                checked[part.archive_key] = plain.stored.checkpoints
    return checked


@contextmanager
def _signalled(manifest: Manifest, trigger: str) -> Iterator[None]:
    """Send how the block ended. An interruption by a person is no failure and is not sent."""
    facts: dict[str, Any] = {"source": manifest.source, "manifest": manifest, "drill": False, "trigger": trigger}
    try:
        yield
    except KeyMissing:
        raise  # neither good nor damaged; the caller decides
    except Exception as error:
        signals.send_verification(signals.verification_failed, message=failure_reason(error), **facts)
        raise
    message = f"{manifest.name} was read to its last byte and is good."
    signals.send_verification(signals.verification_succeeded, message=message, **facts)


@contextmanager
def _copy_named(project: Project, place: Place, manifest: Manifest) -> Iterator[None]:
    """Say of what is found damaged which copy it is, where there are several: the others may be good."""
    try:
        yield
    except VerificationFailed as error:
        if advice := advise_on_copy(project, place, manifest):
            raise VerificationFailed(f"{error} {advice}") from error
        raise


def advise_on_copy(project: Project, place: Place, manifest: Manifest) -> str:
    """Return what to do about a damaged copy in *place*; "" where there is only one place."""
    if len(project.places) == 1:
        return ""
    return (
        f"That is the copy in {place}. `backup_list` shows the places where it is intact, and `backup_copy "
        f"{manifest.name} --to {place.name} --replace-damaged` takes a good one from there."
    )
