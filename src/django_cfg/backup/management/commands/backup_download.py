"""manage.py backup_download"""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django_cfg.backup.management.command import BackupCommand, add_from_option, add_name_argument
from django_cfg.backup.management.exit_codes import NOT_FOUND
from django_cfg.backup.management.unlock_options import add_unlock_options, read_decryption_key
from django_cfg.backup.pipeline.encryption.decryption_keys import decryption_keys
from django_cfg.backup.services.catalog.catalog import find_backup
from django_cfg.backup.services.catalog.download import download_chosen
from django_cfg.backup.services.catalog.places import read_places
from django_cfg.backup.services.project.project import current_project


class Command(BackupCommand):
    help = "Copy a backup out of its storage, checked on the way."
    exit_codes = NOT_FOUND

    def arguments(self, parser: ArgumentParser) -> None:
        add_name_argument(parser)
        parser.add_argument("--to", metavar="FOLDER", default=".", help="Where to put it; default: here.")
        parser.add_argument(
            "--plain", action="store_true", help="Decrypted and decompressed, as the dump tool wrote it."
        )
        add_unlock_options(parser)
        add_from_option(parser)

    def run(self, *, name: str, database: str | None, to: str, plain: bool, **options: Any) -> Any:
        project = current_project()
        catalog = read_places(project, options["from_place"])
        manifest = find_backup(catalog, project, name, database)
        self.warn_of_places(catalog)
        folder = Path(to).absolute()
        keys = decryption_keys(project.config, read_decryption_key(options["private_key"], options["passphrase_fd"]))
        path = download_chosen(project, catalog, manifest, folder, plain=plain, progress=self.progress, keys=keys)
        self.show(f"{path}")
        return {"name": manifest.name, "file": str(path)}
