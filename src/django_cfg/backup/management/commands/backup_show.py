"""manage.py backup_show"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_cfg.backup.management.command import BackupCommand, add_name_argument
from django_cfg.backup.management.exit_codes import NOT_FOUND
from django_cfg.backup.management.output import backups, proofs
from django_cfg.backup.management.output.prune import retention_reasons
from django_cfg.backup.services.catalog.catalog import find_backup
from django_cfg.backup.services.catalog.places import read_places
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.verification import migration_state


class Command(BackupCommand):
    help = "Show all that is known of one backup."
    exit_codes = NOT_FOUND

    def arguments(self, parser: ArgumentParser) -> None:
        add_name_argument(parser)

    def run(self, *, name: str, database: str | None, **options: Any) -> Any:
        project = current_project()
        catalog = read_places(project)
        manifest = find_backup(catalog, project, name, database)
        kept = retention_reasons(project, catalog)[manifest.name]
        proof = catalog.proofs.get(manifest.name)
        behind, proved = (
            migration_state.compare_migrations(manifest.migrations),
            proofs.format_proof(proof, project.zone),
        )
        places = backups.format_places(catalog, manifest.name) if catalog.copies else ""
        signature = catalog.signatures.get(manifest.name)
        self.show(backups.format_backup(manifest, project.zone, behind, proved, kept, signature, places))
        self.warn_of_places(catalog)
        return catalog.document(manifest)
