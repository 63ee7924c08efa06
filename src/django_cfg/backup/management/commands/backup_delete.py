"""manage.py backup_delete"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_cfg.backup.errors import UsageError
from django_cfg.backup.management.command import BackupCommand, add_name, add_yes
from django_cfg.backup.services.catalog import find, read_catalog
from django_cfg.backup.services.delete import delete_backup, find_damaged
from django_cfg.backup.services.project import current_project


class Command(BackupCommand):
    help = "Delete one backup for good."

    def arguments(self, parser: ArgumentParser) -> None:
        add_name(parser)
        add_yes(parser)

    def run(self, *, name: str, database: str | None, yes: bool, **options: Any) -> Any:
        project = current_project()
        storage = project.storage
        catalog = read_catalog(storage)
        chosen = find_damaged(catalog, name) or find(catalog, project, name, database)
        if chosen.name in catalog.pinned:
            raise UsageError(f"{chosen.name} is pinned; `backup_pin {chosen.name} --unpin` allows to delete it.")
        self.ask(f"Delete the backup {chosen.name} in {catalog.location} for good?", yes=yes)
        delete_backup(storage, chosen.name, chosen.archive_key)
        self.show(f"{chosen.name} is deleted.")
        return {"deleted": chosen.name}
