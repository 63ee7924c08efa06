"""manage.py backup_pin"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_cfg.backup.management.command import BackupCommand, add_name_argument
from django_cfg.backup.management.exit_codes import NOT_FOUND
from django_cfg.backup.services.catalog.catalog import find_backup
from django_cfg.backup.services.catalog.places import read_places
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.retention.pins import pin_backup, unpin_backup


class Command(BackupCommand):
    help = "Pin a backup, so that nothing deletes it; or unpin it."
    exit_codes = NOT_FOUND

    def arguments(self, parser: ArgumentParser) -> None:
        add_name_argument(parser)
        parser.add_argument("--why", default="", help="A remark kept with the pin.")
        parser.add_argument("--unpin", action="store_true", help="Take the pin away.")

    def run(self, *, name: str, database: str | None, why: str, unpin: bool, **options: Any) -> Any:
        project = current_project()
        manifest = find_backup(read_places(project), project, name, database)
        if unpin:
            unpin_backup(project, manifest)
            self.show(f"{manifest.name} is not pinned any more.")
        else:
            pin_backup(project, manifest, why)
            self.show(f"{manifest.name} is pinned: nothing deletes it until backup_pin --unpin.")
        return {"name": manifest.name, "pinned": not unpin}
