"""manage.py backup_download"""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django_cfg.backup.errors import NameTaken, StorageError
from django_cfg.backup.management.command import BackupCommand, add_name
from django_cfg.backup.management.unlock_options import add_unlock, unlock
from django_cfg.backup.pipeline.encryption.decryption_keys import keys_of
from django_cfg.backup.services.catalog.catalog import find, read_catalog
from django_cfg.backup.services.catalog.download import download_backup
from django_cfg.backup.services.project.project import current_project


class Command(BackupCommand):
    help = "Copy a backup out of its storage, checked on the way."

    def arguments(self, parser: ArgumentParser) -> None:
        add_name(parser)
        parser.add_argument("--to", metavar="FOLDER", default=".", help="Where to put it; default: here.")
        parser.add_argument(
            "--plain", action="store_true", help="Decrypted and decompressed, as the dump tool wrote it."
        )
        add_unlock(parser)

    def run(self, *, name: str, database: str | None, to: str, plain: bool, **options: Any) -> Any:
        project = current_project()
        manifest = find(read_catalog(project.storage), project, name, database)
        folder = Path(to).absolute()
        keys = keys_of(project.config, unlock(options["private_key"], options["passphrase_fd"]))
        try:
            path = download_backup(project.storage, manifest, folder, plain=plain, progress=self.progress, keys=keys)
        except NameTaken:
            raise StorageError(
                f"{folder} holds a file of the backup {manifest.name} already, and nothing is ever overwritten: "
                "choose another --to."
            ) from None
        self.show(f"{path}")
        return {"name": manifest.name, "file": str(path)}
