"""manage.py backup_prune"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django_cfg.backup.errors import BackupNotFound, StorageError
from django_cfg.backup.formatting import counted, megabytes
from django_cfg.backup.management.command import BackupCommand, add_yes
from django_cfg.backup.management.output import prune
from django_cfg.backup.services.catalog.catalog import read_catalog
from django_cfg.backup.services.project.project import Project, current_project
from django_cfg.backup.services.restore.kept_data import NotAsked, Scratch, find_scratches, sweep_scratches
from django_cfg.backup.services.retention.leftovers import Leftover, find_leftovers, remove_leftover
from django_cfg.backup.services.retention.prune import Pruned, PrunePlan, carry_out, plan_prune, still_due
from django_cfg.backup.storage.base import Storage


class Command(BackupCommand):
    help = "Show which backups are kept and why, and delete the others after asking. Exit code 1: some would not go."

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only show.")
        add_yes(parser)
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--orphans", action="store_true", help="Also those of databases that left DATABASES.")
        what.add_argument(
            "--leftovers",
            nargs="*",
            metavar="NAME",
            help="Archives without a manifest instead of backups; only those named, which then are known to be yours.",
        )

    def run(self, *, dry_run: bool, yes: bool, orphans: bool, leftovers: list[str] | None, **options: Any) -> Any:
        self._yes = yes
        self._only_shows = dry_run or not (yes or sys.stdin.isatty())
        project = current_project()
        if leftovers is None:
            return self._backups(project, orphans=orphans)
        return self._leftovers(project, leftovers)

    def _backups(self, project: Project, *, orphans: bool) -> Any:
        due = plan_prune(orphans=orphans)
        self._show_plan(project, due)
        scratches = self._scratches(project)
        what = [f"{counted(len(due.retention.due), 'backup')} ({megabytes(due.size)})"] * bool(due.retention.due)
        what += [f"what {counted(len(scratches), 'dead restore')} left"] * bool(scratches)
        if not self._agreed(" and ".join(what), due.storage, [*due.retention.due, *scratches]):
            return prune.document(Pruned(due), project)
        self._sweep(project, scratches)
        if not self._yes:
            due = still_due(due, plan_prune(orphans=orphans))
        pruned = carry_out(due, self.progress)
        document = prune.document(pruned, project)
        for outcome in pruned.kept:
            self.warn(f"{outcome.manifest.name} is kept: {outcome.kept}.")
        if pruned.failed and self.as_json:
            self.print_document(document)
        pruned.require_complete()
        return document

    def _scratches(self, project: Project) -> list[Scratch]:
        """Those of restores that died, which are nobody's data, shown."""
        found = list(find_scratches(project))
        for one in found:
            if isinstance(one, NotAsked):
                self.warn(f"Whether dead restores left something beside {one.database} is not known: {one.error}")
            else:
                self.warn(f"A restore of {one.database} that died left {one.name}.")
        return [one for one in found if isinstance(one, Scratch)]

    def _sweep(self, project: Project, scratches: list[Scratch]) -> None:
        for removed in sweep_scratches(project, scratches):
            if isinstance(removed, NotAsked):
                self.warn(f"What dead restores left beside {removed.database} stays: {removed.error}")
            else:
                self.warn(f"Removed {removed}, which a restore that died had left.")

    def _show_plan(self, project: Project, due: PrunePlan) -> None:
        own = [decision for decision in due.retention.decisions if project.owns(decision.manifest.source)]
        if own:
            self.show(prune.decisions(own, project.zone))
        else:
            self.warn(f"No backup of {project.name}/{project.env} in {due.storage.location}.")
        if others := len(due.retention.decisions) - len(own):
            self.warn(f"{others} more of other projects or environments: nothing touches them from here.")
        for warning in due.retention.warnings:
            self.warn(warning)
        self.warn_of_damage(due.catalog)
        if leftovers := find_leftovers(project, due.catalog):
            self.warn(f"Without a manifest: {_told(leftovers)}; see backup_prune --leftovers.")

    def _leftovers(self, project: Project, names: list[str]) -> Any:
        storage = project.storage
        found = _named(find_leftovers(project, read_catalog(storage), names), names)
        if found:
            self.show(prune.leftovers(found, project.zone))
        removable = [leftover for leftover in found if not leftover.spared]
        size = megabytes(sum(leftover.size for leftover in removable))
        removed: list[str] = []
        errors: list[str] = []
        if self._agreed(f"what is left of {counted(len(removable), 'name')} ({size})", storage, removable):
            for leftover in removable:
                self._remove(storage, leftover, removed, errors)
        document = prune.leftover_document(found, removed)
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


def _named(found: list[Leftover], names: list[str]) -> list[Leftover]:
    """Those of *names*; without any, all.

    :raises BackupNotFound: there is none of a name.
    """
    if unknown := sorted(set(names) - {leftover.name for leftover in found}):
        raise BackupNotFound(
            f"Nothing without a manifest is named {unknown[0]!r}; `backup_prune --leftovers` shows all."
        )
    return [leftover for leftover in found if not names or leftover.name in names]


def _told(leftovers: list[Leftover]) -> str:
    first = leftovers[0].objects[0].key
    return first if len(leftovers) == 1 else f"{first} and what is left of {counted(len(leftovers) - 1, 'other name')}"
