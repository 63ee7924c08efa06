"""manage.py backup_create"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_cfg.backup.management.command import BackupCommand
from django_cfg.backup.management.exit_codes import SOME_FAILED, failing
from django_cfg.backup.manifest import Manifest, describe_stored
from django_cfg.backup.services.creation.batch import Failure, batch_error, create_backups


class Command(BackupCommand):
    help = "Back up databases."
    exit_codes = failing("all failed", SOME_FAILED)

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("aliases", nargs="*", metavar="ALIAS", help="Databases; none: all that are enabled.")
        parser.add_argument("--note", default="", help="A remark kept in the manifest.")

    def run(self, *, aliases: list[str], note: str, **options: Any) -> Any:
        results: list[Manifest | Failure] = []
        for result in create_backups(aliases, note=note, progress=self.progress):
            results.append(result)
            if isinstance(result, Manifest):
                self.show(describe_stored(result))
        if error := batch_error(results):
            self.print_document(results)
            raise error
        if not results:
            self.warn("No database is enabled for backups: see BackupDatabaseConfig.enabled in settings.BACKUP.")
        return results
