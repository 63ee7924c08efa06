"""manage.py backup_prune"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django_cfg.backup.errors import StorageError, counted, megabytes
from django_cfg.backup.management import prune_tables
from django_cfg.backup.management.command import BackupCommand, add_yes
from django_cfg.backup.services.leftovers import Leftover, find_leftovers, remove_leftover
from django_cfg.backup.services.project import Project, current_project
from django_cfg.backup.services.prune import Pruned, PrunePlan, carry_out, plan_prune, still_due
from django_cfg.backup.services.set_aside import NotAsked, sweep_scratches
from django_cfg.backup.storage.base import Storage


class Command(BackupCommand):
    help = "Show which backups are kept and why, and delete the others after asking. Exit code 1: some would not go."

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only show.")
        add_yes(parser)
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--orphans", action="store_true", help="Also those of databases that left DATABASES.")
        what.add_argument("--leftovers", action="store_true", help="Archives without a manifest instead of backups.")

    def run(self, *, dry_run: bool, yes: bool, orphans: bool, leftovers: bool, **options: Any) -> Any:
        self._yes = yes
        self._only_shows = dry_run or not (yes or sys.stdin.isatty())
        project = current_project()
        return self._leftovers(project) if leftovers else self._backups(project, orphans=orphans)

    def _backups(self, project: Project, *, orphans: bool) -> Any:
        due = plan_prune(orphans=orphans)
        if not self._only_shows:
            self._sweep(project)
        self._show_plan(project, due)
        if not self._agreed(
            f"{counted(len(due.retention.due), 'backup')} ({megabytes(due.size)})", due.storage, due.retention.due
        ):
            return prune_tables.document(Pruned(due), project)
        if not self._yes:
            due = still_due(due, plan_prune(orphans=orphans))
        pruned = carry_out(due, self.progress)
        document = prune_tables.document(pruned, project)
        for outcome in pruned.kept:
            self.warn(f"{outcome.manifest.name} is kept: {outcome.kept}.")
        if pruned.failed and self.as_json:
            self.print_document(document)
        pruned.require_complete()
        return document

    def _sweep(self, project: Project) -> None:
        """Scratches of restores that died are nobody's data."""
        for found in sweep_scratches(project):
            if isinstance(found, NotAsked):
                self.warn(f"Whether dead restores left something in {found.database} cannot be asked: {found.error}")
            else:
                self.warn(f"Removed {found}, which a restore that died had left.")

    def _show_plan(self, project: Project, due: PrunePlan) -> None:
        own = [decision for decision in due.retention.decisions if project.owns(decision.manifest.source)]
        if own:
            self.show(prune_tables.decisions(own, project.zone))
        else:
            self.warn(f"No backup of {project.name}/{project.env} in {due.storage.location}.")
        if others := len(due.retention.decisions) - len(own):
            self.warn(f"{others} more of other projects or environments: nothing touches them from here.")
        for warning in due.retention.warnings:
            self.warn(warning)
        self.warn_of_damage(due.catalog)
        if leftovers := find_leftovers(project):
            self.warn(f"Without a manifest: {_told(leftovers)}; see backup_prune --leftovers.")

    def _leftovers(self, project: Project) -> Any:
        found, storage = find_leftovers(project), project.storage
        if found:
            self.show(prune_tables.leftovers(found, project.zone))
        removable = [leftover for leftover in found if not leftover.spared]
        size = megabytes(sum(leftover.size for leftover in removable))
        removed: list[str] = []
        errors: list[str] = []
        if self._agreed(f"what is left of {counted(len(removable), 'name')} ({size})", storage, removable):
            for leftover in removable:
                self._remove(storage, leftover, removed, errors)
        document = prune_tables.leftover_document(found, removed)
        if errors:
            if self.as_json:
                self.print_document(document)
            raise StorageError("\n".join(errors))
        return document

    def _remove(self, storage: Storage, leftover: Leftover, removed: list[str], errors: list[str]) -> None:
        try:
            if remove_leftover(storage, leftover):
                removed.append(leftover.name)
        except StorageError as error:
            errors.append(str(error))

    def _agreed(self, what: str, storage: Storage, things: list[Any]) -> bool:
        """Whether to go on; only what is to be lost is asked about.

        :raises Declined: the answer is no.
        """
        if self._only_shows:
            if things:
                self.warn("Only shown, nothing was deleted: without --dry-run at a terminal you are asked, or --yes.")
            return False
        if not things:
            self.show("Nothing to delete.")
        else:
            self.ask(f"Delete {what} in {storage.location} for good?", yes=self._yes)
        return True


def _told(leftovers: list[Leftover]) -> str:
    first = leftovers[0].objects[0].key
    return first if len(leftovers) == 1 else f"{first} and what is left of {counted(len(leftovers) - 1, 'other name')}"
