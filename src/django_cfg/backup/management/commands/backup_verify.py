"""manage.py backup_verify"""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import dataclass
from typing import Any

from django_cfg.backup.errors import BackupError, KeyMissing, UsageError, VerificationFailed
from django_cfg.backup.management.command import BackupCommand
from django_cfg.backup.management.output import proofs
from django_cfg.backup.management.unlock_options import add_unlock, unlock
from django_cfg.backup.manifest import Manifest, Proof
from django_cfg.backup.pipeline.encryption.decryption_keys import keys_of
from django_cfg.backup.pipeline.encryption.keyring import Keys
from django_cfg.backup.services.catalog.catalog import Catalog, find, read_catalog
from django_cfg.backup.services.project.project import Project, current_project
from django_cfg.backup.services.verification.drill import drill, failure
from django_cfg.backup.services.verification.verify import verify


@dataclass(frozen=True)
class _Result:
    """What one backup came to."""

    name: str
    error: BackupError | None = None
    unchecked: KeyMissing | None = None  # why what the stored bytes hold was not looked at
    proof: Proof | None = None  # of a drill

    @property
    def document(self) -> dict[str, Any]:
        told: dict[str, Any] = {"name": self.name, "error": str(self.error) if self.error else None}
        if self.unchecked:
            told["unchecked"] = str(self.unchecked)
        return told | {"proof": proofs.document(self.proof)} if self.proof else told


class Command(BackupCommand):
    help = (
        "Read backups to their last byte and check them; with --drill restore them into a scratch and compare every "
        "table with it. Exit code 1: one is damaged, or a drill failed."
    )

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help="Backups; none: all of this project and env.")
        parser.add_argument("--database", metavar="ALIAS", help="Only backups of this database.")
        parser.add_argument(
            "--drill", action="store_true", help="Prove the named backups by restoring them; no data is replaced."
        )
        add_unlock(parser)

    def run(self, *, names: list[str], database: str | None, **options: Any) -> Any:
        project = current_project()
        opened_by = unlock(options["private_key"], options["passphrase_fd"])
        keys = keys_of(project.config, opened_by)
        catalog = read_catalog(project.storage)
        if options["drill"] and not names:
            raise UsageError("--drill restores: name the backups it is to prove, as in `backup_verify latest --drill`.")
        key_is_given = opened_by.private_key is not None
        results = [
            self._drill(project, manifest, keys)
            if options["drill"]
            else self._verify(project, manifest, keys, key_is_given=key_is_given)
            for manifest in _chosen(catalog, project, names, database)
        ]
        if names:
            self.warn_of_damage(catalog)  # `latest` is the newest that is whole
        else:
            results += [_Result(damaged.name, damaged.error) for damaged in catalog.damaged]
        document = [result.document for result in results]
        self._report(results, document, drilled=options["drill"])
        return document

    def _verify(self, project: Project, manifest: Manifest, keys: Keys, *, key_is_given: bool) -> _Result:
        try:
            verify(project.storage, manifest, self.progress, tools_dir=project.config.tools_dir, keys=keys)
        except KeyMissing as error:
            if key_is_given:
                return _Result(manifest.name, error)
            self.show(f"{manifest.name}: stored as it was written; what it holds cannot be checked here. {error}")
            return _Result(manifest.name, unchecked=error)
        except BackupError as error:
            return _Result(manifest.name, error)
        self.show(f"{manifest.name}: good")
        return _Result(manifest.name)

    def _drill(self, project: Project, manifest: Manifest, keys: Keys) -> _Result:
        try:
            proof = drill(project, manifest, keys, self.progress)
        except BackupError as error:
            return _Result(manifest.name, error)
        if not proof.succeeded:
            return _Result(manifest.name, VerificationFailed(failure(proof)), proof=proof)
        self.show(f"{manifest.name}: proved. {proofs.sentence(proof)}")
        if proof.migrations:
            self.warn(proof.migrations)
        return _Result(manifest.name, proof=proof)

    def _report(self, results: list[_Result], document: list[dict[str, Any]], *, drilled: bool) -> None:
        failed = [result.error for result in results if result.error]
        if failed and self.as_json:
            self.print_document(document)
        if len(failed) == 1:
            raise failed[0]
        if failed:
            told = "\n".join(str(error) for error in failed)
            what = "were not proved" if drilled else "are damaged"
            raise VerificationFailed(f"{len(failed)} of {len(results)} backups {what}:\n{told}")


def _chosen(catalog: Catalog, project: Project, names: list[str], database: str | None) -> list[Manifest]:
    if names:
        return [find(catalog, project, name, database) for name in names]
    return [manifest for manifest in catalog.of(project) if database in (None, manifest.source.database)]
