"""manage.py backup_delete"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_cfg.backup.formatting import format_time, megabytes
from django_cfg.backup.management.command import BackupCommand, add_name_argument, add_yes_option
from django_cfg.backup.management.exit_codes import NOT_FOUND
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.catalog.catalog import Damaged
from django_cfg.backup.services.catalog.places import read_places
from django_cfg.backup.services.project.project import Project, current_project
from django_cfg.backup.services.retention.delete import choose_backup, delete_chosen, require_unprotected


class Command(BackupCommand):
    help = "Delete one backup for good."
    exit_codes = NOT_FOUND

    def arguments(self, parser: ArgumentParser) -> None:
        add_name_argument(parser)
        add_yes_option(parser)
        parser.add_argument(
            "--force",
            action="store_true",
            help="Also the newest backup of a database, the newest proved one, and a pinned one.",
        )

    def run(self, *, name: str, database: str | None, yes: bool, force: bool, **options: Any) -> Any:
        project = current_project()
        catalog = read_places(project)
        chosen = choose_backup(catalog, project, name, database)
        if isinstance(chosen, Manifest) and not force:
            require_unprotected(catalog, chosen)
        self.ask(f"Delete {_described(chosen, project)} in {catalog.location} for good?", yes=yes)
        delete_chosen(project, catalog, chosen)
        self.show(f"{chosen.name} is deleted.")
        return {"deleted": chosen.name}


def _described(chosen: Manifest | Damaged, project: Project) -> str:
    if isinstance(chosen, Damaged):
        return f"the damaged backup {chosen.name}"
    size = megabytes(chosen.size)
    return f"the backup {chosen.name} of {chosen.source} ({format_time(chosen.started_at, project.zone)}, {size})"
