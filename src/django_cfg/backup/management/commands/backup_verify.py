"""manage.py backup_verify"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_cfg.backup.errors import BackupError, IntegrityError
from django_cfg.backup.management.command import BackupCommand
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.catalog import Catalog, find, read_catalog
from django_cfg.backup.services.project import Project, current_project
from django_cfg.backup.services.verify import verify


class Command(BackupCommand):
    help = "Read backups to their last byte and check them. Exit code 1: one is damaged."

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help="Backups; none: all of this project and env.")
        parser.add_argument("--database", metavar="ALIAS", help="Only backups of this database.")

    def run(self, *, names: list[str], database: str | None, **options: Any) -> Any:
        project = current_project()
        catalog = read_catalog(project.storage)
        results: list[tuple[str, BackupError | None]] = [
            (manifest.name, self._verify(project, manifest)) for manifest in _chosen(catalog, project, names, database)
        ]
        if not names:
            results += [(damaged.name, damaged.error) for damaged in catalog.damaged]
        document = [{"name": name, "error": str(error) if error else None} for name, error in results]
        self._report(results, document)
        return document

    def _verify(self, project: Project, manifest: Manifest) -> BackupError | None:
        try:
            verify(project.storage, manifest, self.progress, tools_dir=project.config.tools_dir)
        except BackupError as error:
            return error
        self.show(f"{manifest.name}: good")
        return None

    def _report(self, results: list[tuple[str, BackupError | None]], document: list[dict[str, str | None]]) -> None:
        failed = [error for _, error in results if error]
        if failed and self.as_json:
            self.print_document(document)
        if len(failed) == 1:
            raise failed[0]
        if failed:
            told = "\n".join(str(error) for error in failed)
            raise IntegrityError(f"{len(failed)} of {len(results)} backups are damaged:\n{told}")


def _chosen(catalog: Catalog, project: Project, names: list[str], database: str | None) -> list[Manifest]:
    if names:
        return [find(catalog, project, name, database) for name in names]
    return [manifest for manifest in catalog.of(project) if database in (None, manifest.source.database)]
