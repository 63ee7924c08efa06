"""manage.py backup_show"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_cfg.backup.management.command import BackupCommand, add_name_argument
from django_cfg.backup.management.output import backups, proofs
from django_cfg.backup.management.output.prune import retention_reasons
from django_cfg.backup.services.catalog.catalog import find_backup, read_catalog
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.verification import migration_state


class Command(BackupCommand):
    help = "Show all that is known of one backup."

    def arguments(self, parser: ArgumentParser) -> None:
        add_name_argument(parser)

    def run(self, *, name: str, database: str | None, **options: Any) -> Any:
        project = current_project()
        catalog = read_catalog(project.storage, project.signing_keys)
        manifest = find_backup(catalog, project, name, database)
        kept = retention_reasons(project, catalog)[manifest.name]
        proof = catalog.proofs.get(manifest.name)
        behind, proved = (
            migration_state.compare_migrations(manifest.migrations),
            proofs.format_proof(proof, project.zone),
        )
        self.show(
            backups.format_backup(manifest, project.zone, behind, proved, kept, catalog.signatures.get(manifest.name))
        )
        return catalog.document(manifest)
