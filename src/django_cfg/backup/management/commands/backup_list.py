"""manage.py backup_list"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_cfg.backup.management.command import BackupCommand
from django_cfg.backup.management.output import backups, proofs
from django_cfg.backup.management.output.prune import retention_reasons
from django_cfg.backup.services.catalog.catalog import require_known_database
from django_cfg.backup.services.catalog.places import read_places
from django_cfg.backup.services.project.project import current_project


class Command(BackupCommand):
    help = "List the backups of this project and environment, newest first."

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--all", action="store_true", help="Those of other projects and environments too.")
        parser.add_argument("--database", metavar="ALIAS", help="Only those of this database.")

    def run(self, *, database: str | None, **options: Any) -> Any:
        project = current_project()
        catalog = read_places(project)
        require_known_database(project, catalog, database)
        own = list(catalog.backups) if options["all"] else catalog.of(project)
        chosen = [manifest for manifest in own if database in (None, manifest.source.database)]
        if chosen:
            kept, zone = retention_reasons(project, catalog, briefly=True), project.zone
            proved = {
                manifest.name: proofs.format_proof_cell(catalog.proofs.get(manifest.name), zone) for manifest in chosen
            }
            self.show(backups.format_backups(chosen, catalog, zone, proved, kept, sources=options["all"]))
        else:
            self.warn(f"No backup of {project.name}/{project.env} in {catalog.location}.")
        if hidden := len(catalog.backups) - len(own):
            self.warn(f"{hidden} more of other projects or environments: --all shows them.")
        self.warn_of_damage(catalog.damaged)
        self.warn_of_places(catalog)
        return [catalog.document(manifest) for manifest in chosen]
