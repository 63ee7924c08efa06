"""manage.py backup_verify"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_cfg.backup.engines.base import RestoreOptions
from django_cfg.backup.errors import BackupError, KeyMissing, UsageError, VerificationFailed
from django_cfg.backup.management.command import (
    BackupCommand,
    add_from_option,
    add_jobs_option,
    add_skip_options,
    add_trust_option,
    add_unsigned_option,
)
from django_cfg.backup.management.exit_codes import NOT_FOUND, failing
from django_cfg.backup.management.output import proofs
from django_cfg.backup.management.unlock_options import add_unlock_options, read_decryption_key
from django_cfg.backup.manifest import Manifest, Proof
from django_cfg.backup.pipeline.encryption.decryption_keys import decryption_keys
from django_cfg.backup.pipeline.encryption.keyring import DecryptionKeys
from django_cfg.backup.records import ErrorText, Record
from django_cfg.backup.services.catalog.catalog import Catalog, find_backup, require_known_database
from django_cfg.backup.services.catalog.places import places_with, read_places
from django_cfg.backup.services.project.project import Project, current_project
from django_cfg.backup.services.restore.restore import describe_skipped
from django_cfg.backup.services.verification.drill import drill, drill_failure
from django_cfg.backup.services.verification.verify import verify


class VerifyResult(Record):
    """The result for one backup."""

    name: str
    error: ErrorText | None = None
    unchecked: ErrorText | None = None  # why only the stored bytes were compared
    proof: Proof | None = None  # of a drill


class Command(BackupCommand):
    help = (
        "Read backups to their last byte and check them; with --drill restore them into a scratch database and compare "
        "every table with the manifest."
    )
    exit_codes = failing("one is damaged, or a drill failed", NOT_FOUND)

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help="Backups; none: all of this project and env.")
        parser.add_argument("--database", metavar="ALIAS", help="Only backups of this database.")
        parser.add_argument(
            "--drill", action="store_true", help="Prove the named backups by restoring them; no data is replaced."
        )
        add_skip_options(parser)
        add_jobs_option(parser)
        add_trust_option(parser)
        add_unsigned_option(parser)
        add_unlock_options(parser)
        add_from_option(parser)

    def run(self, *, names: list[str], database: str | None, **options: Any) -> Any:
        project = current_project()
        decryption_key = read_decryption_key(options["private_key"], options["passphrase_fd"])
        keys = decryption_keys(project.config, decryption_key)
        catalog = read_places(project, options["from_place"])
        if options["drill"] and not names:
            raise UsageError("--drill restores: name the backups it is to prove, as in `backup_verify latest --drill`.")
        if not options["drill"] and (options["skip"] or options["skip_failing"]):
            raise UsageError("--skip and --skip-failing leave objects out of a restore: give --drill, too.")
        if not options["drill"] and options["jobs"]:
            raise UsageError("--jobs is about a restore: give --drill, too.")
        key_is_given = decryption_key.private_key is not None
        results = [
            self._drill(project, catalog, manifest, keys, options)
            if options["drill"]
            else self._verify(project, catalog, manifest, keys, key_is_given=key_is_given)
            for manifest in _chosen(catalog, project, names, database)
        ]
        if names:
            self.warn_of_damage(catalog.damaged)  # `latest` is the newest that is intact
        else:
            results += [VerifyResult(name=damaged.name, error=damaged.error) for damaged in catalog.damaged]
        self.warn_of_places(catalog)
        self._report(results, drilled=options["drill"])
        return results

    def _verify(
        self, project: Project, catalog: Catalog, manifest: Manifest, keys: DecryptionKeys, *, key_is_given: bool
    ) -> VerifyResult:
        try:
            catalog.require_signature(manifest, allow_unsigned=True)
            verify(project, places_with(project, catalog, manifest)[0], manifest, keys, self.progress)
        except KeyMissing as error:
            if key_is_given:
                return VerifyResult(name=manifest.name, error=error)
            self.show(f"{manifest.name}: stored as it was written; what it holds cannot be checked here. {error}")
            return VerifyResult(name=manifest.name, unchecked=error)
        except BackupError as error:
            return VerifyResult(name=manifest.name, error=error)
        self.show(f"{manifest.name}: good")
        return VerifyResult(name=manifest.name)

    def _drill(
        self, project: Project, catalog: Catalog, manifest: Manifest, keys: DecryptionKeys, options: dict[str, Any]
    ) -> VerifyResult:
        try:
            catalog.require_signature(manifest, allow_unsigned=options["allow_unsigned"])
            chosen = RestoreOptions(
                skip=tuple(options["skip"]), skip_failing=options["skip_failing"], jobs=options["jobs"]
            )
            trust_storage = options["trust_storage"]
            place = places_with(project, catalog, manifest)[0]
            proof = drill(project, place, manifest, keys, self.progress, options=chosen, trust_storage=trust_storage)
        except BackupError as error:
            return VerifyResult(name=manifest.name, error=error)
        if not proof.succeeded:
            return VerifyResult(name=manifest.name, error=VerificationFailed(drill_failure(proof)), proof=proof)
        self.show(f"{manifest.name}: proved. {proofs.describe_success(proof)}")
        if proof.skipped:
            self.warn(describe_skipped(proof.skipped))
        if proof.migrations:
            self.warn(proof.migrations)
        return VerifyResult(name=manifest.name, proof=proof)

    def _report(self, results: list[VerifyResult], *, drilled: bool) -> None:
        failed = [result.error for result in results if result.error]
        if failed:
            self.print_document(results)
        if len(failed) == 1:
            raise failed[0]
        if failed:
            what = "were not proved" if drilled else "are damaged"
            raise VerificationFailed(f"{len(failed)} of {len(results)} backups {what}:", *map(str, failed))


def _chosen(catalog: Catalog, project: Project, names: list[str], database: str | None) -> list[Manifest]:
    if names:
        return [find_backup(catalog, project, name, database) for name in names]
    require_known_database(project, catalog, database)
    return [manifest for manifest in catalog.of(project) if database in (None, manifest.source.database)]
