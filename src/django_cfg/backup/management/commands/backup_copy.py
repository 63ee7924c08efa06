"""manage.py backup_copy"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_cfg.backup.errors import UsageError
from django_cfg.backup.management.command import BackupCommand, add_name_argument
from django_cfg.backup.management.exit_codes import NOT_FOUND, SOME_FAILED, failing
from django_cfg.backup.services.catalog.catalog import LATEST, find_backup
from django_cfg.backup.services.catalog.places import read_places
from django_cfg.backup.services.copies.copy import (
    CopyOutcome,
    copies_error,
    copy_missing,
    copy_to_places,
    require_places,
)
from django_cfg.backup.services.project.project import Project, current_project


class Command(BackupCommand):
    help = (
        "Copy a backup to the places where it is missing, compared with its manifest on the way; --missing copies all "
        "that are, as every tick does."
    )
    exit_codes = failing("none was copied", NOT_FOUND, SOME_FAILED)

    def arguments(self, parser: ArgumentParser) -> None:
        add_name_argument(parser, optional=True)
        parser.add_argument("--to", metavar="PLACE", help="Only to this place: `main`, or the name of a copy.")
        parser.add_argument("--missing", action="store_true", help="All backups that are missing in any place.")
        parser.add_argument(
            "--replace-damaged",
            action="store_true",
            help="Delete what a place has of the backup that is damaged there, and put a good copy in its stead.",
        )

    def run(self, *, name: str, database: str | None, to: str | None, **options: Any) -> Any:
        project = current_project()
        require_places(project)
        if options["missing"]:
            if name != LATEST or database is not None or to is not None:
                raise UsageError("--missing copies all that is missing: give neither NAME, --database nor --to.")
            outcomes = copy_missing(project, self.progress)
        else:
            outcomes = self._copy(project, name, database, to, replace_damaged=options["replace_damaged"])
        self._report(outcomes)
        return outcomes

    def _copy(
        self, project: Project, name: str, database: str | None, to: str | None, *, replace_damaged: bool
    ) -> list[CopyOutcome]:
        targets = [project.place(to)] if to is not None else list(project.places)
        catalog = read_places(project)
        self.warn_of_places(catalog)
        manifest = find_backup(catalog, project, name, database)
        outcomes = copy_to_places(project, catalog, manifest, targets, self.progress, replace_damaged=replace_damaged)
        if not outcomes:
            self.show(f"{manifest.name} is in {', '.join(place.name for place in targets)} already.")
        return outcomes

    def _report(self, outcomes: list[CopyOutcome]) -> None:
        for outcome in outcomes:
            if not outcome.error:
                self.show(f"{outcome.name}: copied from {outcome.source} to {outcome.place}")
        if error := copies_error(outcomes):
            self.print_document(outcomes)
            raise error
