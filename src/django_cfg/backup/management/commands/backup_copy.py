"""manage.py backup_copy"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_cfg.backup.errors import BackupError, SomeFailed, StorageError, UsageError
from django_cfg.backup.management.command import BackupCommand, add_name_argument
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.catalog.catalog import Catalog, find_backup
from django_cfg.backup.services.catalog.places import read_places
from django_cfg.backup.services.copies.copy import CopyOutcome, copy_backup, copy_missing, send_complete
from django_cfg.backup.services.copies.missing import state_in
from django_cfg.backup.services.project.places import Place
from django_cfg.backup.services.project.project import Project, current_project


class Command(BackupCommand):
    help = (
        "Copy a backup to the places where it is missing, compared with its manifest on the way; --missing copies all "
        "that are, as every tick does. Exit code 3: some were not copied; 1: none was."
    )

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
        if len(project.places) == 1:
            raise UsageError("There is one place, and nothing to copy: BackupConfig.copies names further ones.")
        if options["missing"]:
            outcomes = copy_missing(project, self.progress)
        else:
            outcomes = self._copy(project, name, database, to, replace_damaged=options["replace_damaged"])
        if not options["missing"] and any(outcome.source for outcome in outcomes):
            send_complete(project, read_places(project))
        self._report(outcomes)
        return outcomes

    def _copy(
        self, project: Project, name: str, database: str | None, to: str | None, *, replace_damaged: bool
    ) -> list[CopyOutcome]:
        targets = [project.place(to)] if to else list(project.places)
        catalog = read_places(project)
        self.warn_of_places(catalog)
        manifest = find_backup(catalog, project, name, database)
        wanted = [place for place in targets if self._is_wanted(place, manifest, catalog, replace_damaged)]
        outcomes = []
        for place in wanted:
            try:
                source = copy_backup(project, manifest, place, catalog, self.progress, replace_damaged=replace_damaged)
                outcomes.append(CopyOutcome(name=manifest.name, place=place.name, source=source.name))
            except BackupError as error:
                outcomes.append(CopyOutcome(name=manifest.name, place=place.name, error=error))
        if not outcomes:
            self.show(f"{manifest.name} is in {', '.join(place.name for place in targets)} already.")
        return outcomes

    @staticmethod
    def _is_wanted(place: Place, manifest: Manifest, catalog: Catalog, replace_damaged: bool) -> bool:
        """
        :raises StorageError: the place is away.
        """
        if place.name in catalog.away:
            raise StorageError(f"Nothing is copied to {place}: {catalog.away[place.name]}")
        state = state_in(place, manifest, catalog)
        return state == "missing" or (state == "damaged" and replace_damaged)

    def _report(self, outcomes: list[CopyOutcome]) -> None:
        for outcome in outcomes:
            if not outcome.error:
                self.show(f"{outcome.name}: copied from {outcome.source} to {outcome.place}")
        failed = [outcome for outcome in outcomes if outcome.error]
        if failed and self.as_json:
            self.print_document(outcomes)
        if len(failed) == 1 == len(outcomes) and isinstance(failed[0].error, BackupError):
            raise failed[0].error
        if failed:
            summary = f"{len(failed)} of {len(outcomes)} copies were not made:"
            lines = [f"{each.name} to {each.place}: {each.error}" for each in failed]
            raise (BackupError if len(failed) == len(outcomes) else SomeFailed)(summary, *lines)
