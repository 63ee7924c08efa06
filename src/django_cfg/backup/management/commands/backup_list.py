"""manage.py backup_list"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_cfg.backup.management.command import BackupCommand
from django_cfg.backup.management.output import backups, proofs
from django_cfg.backup.management.output.prune import retention_reasons
from django_cfg.backup.services.catalog.catalog import require_known_database
from django_cfg.backup.services.catalog.moments import is_within, parse_bound, require_order
from django_cfg.backup.services.catalog.places import read_places
from django_cfg.backup.services.project.project import current_project


class Command(BackupCommand):
    help = "List the backups of this project and environment, newest first."

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--all", action="store_true", help="Those of other projects and environments too.")
        parser.add_argument("--database", metavar="ALIAS", help="Only those of this database.")
        when = "a date or a date and time, in TIME_ZONE unless it has an offset"
        parser.add_argument("--since", metavar="WHEN", help=f"Only those begun then or later: {when}.")
        parser.add_argument("--until", metavar="WHEN", help="Only those begun then or earlier; a date: with that day.")

    def run(self, *, database: str | None, **options: Any) -> Any:
        project = current_project()
        since = None if options["since"] is None else parse_bound(options["since"], project.zone)
        until = None if options["until"] is None else parse_bound(options["until"], project.zone, is_end=True)
        require_order(since, until)
        catalog = read_places(project)
        require_known_database(project, catalog, database)
        own = list(catalog.backups) if options["all"] else catalog.of(project)
        of_database = [manifest for manifest in own if database in (None, manifest.source.database)]
        chosen = [manifest for manifest in of_database if is_within(manifest, since, until)]
        if chosen:
            kept, zone = retention_reasons(project, catalog, briefly=True), project.zone
            proved = {
                manifest.name: proofs.format_proof_cell(catalog.proofs.get(manifest.name), zone) for manifest in chosen
            }
            self.show(backups.format_backups(chosen, catalog, zone, proved, kept, sources=options["all"]))
        else:
            period = " in this period" if of_database else ""
            self.warn(f"No backup of {project.name}/{project.env} in {catalog.location}{period}.")
        if hidden := len(catalog.backups) - len(own):
            self.warn(f"{hidden} more of other projects or environments: --all shows them.")
        self.warn_of_damage(catalog.damaged)
        self.warn_of_places(catalog)
        return [catalog.document(manifest) for manifest in chosen]
