"""manage.py backup_prune"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django_cfg.backup.errors import BackupNotFound, StorageError
from django_cfg.backup.formatting import counted, megabytes
from django_cfg.backup.management.command import BackupCommand, add_yes_option
from django_cfg.backup.management.exit_codes import NOT_FOUND, failing
from django_cfg.backup.management.output import prune
from django_cfg.backup.services.catalog.catalog import read_catalog
from django_cfg.backup.services.project.project import Project, current_project
from django_cfg.backup.services.restore.kept_data import (
    AbandonedStaging,
    Unreachable,
    find_abandoned_staging,
    sweep_abandoned_staging,
)
from django_cfg.backup.services.retention.leftovers import Leftover, find_leftovers, remove_leftover
from django_cfg.backup.services.retention.prune import (
    PrunePlan,
    PruneReport,
    execute_prune,
    plan_prunes,
    preview_report,
    report_of_all,
    require_all_pruned,
    still_due,
)


class Command(BackupCommand):
    help = "Show which backups are kept and why, and delete the others after asking."
    exit_codes = failing("some could not be deleted, or the answer was no", NOT_FOUND)

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only show.")
        add_yes_option(parser)
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
        plans = plan_prunes(orphans=orphans)
        for due in plans:
            self._show_plan(project, due)
        staging = self._abandoned_staging(project)
        number = sum(len(due.retention.due) for due in plans)
        what = [f"{counted(number, 'backup')} ({megabytes(sum(due.size for due in plans))})"] * bool(number)
        what += [f"what {counted(len(staging), 'dead restore')} left"] * bool(staging)
        if not self._agreed(" and ".join(what), _places(plans), bool(number or staging)):
            return report_of_all([preview_report(due) for due in plans])
        self._sweep(project, staging)
        reports = [self._prune(due) for due in self._still_agreed(plans, orphans=orphans)]
        report = report_of_all(reports)
        if any(each.failed for each in reports):
            self.print_document(report)
        for each in reports:
            each.require_complete()
        require_all_pruned(plans)
        return report

    def _still_agreed(self, plans: list[PrunePlan], *, orphans: bool) -> list[PrunePlan]:
        """Decide again: the answer may have taken a while."""
        if self._yes:
            return plans
        agreed = {due.place.name: {manifest.name for manifest in due.retention.due} for due in plans}
        return [still_due(agreed.get(now.place.name, set()), now) for now in plan_prunes(orphans=orphans)]

    def _prune(self, due: PrunePlan) -> PruneReport:
        report = execute_prune(due, self.progress)
        for outcome in report.kept:
            self.warn(f"{outcome.name} is kept: {outcome.why}.")
        return report

    def _abandoned_staging(self, project: Project) -> list[AbandonedStaging]:
        """What restores that died have left, which is no data of the project; it is shown."""
        found = list(find_abandoned_staging(project))
        for one in found:
            if isinstance(one, Unreachable):
                self.warn(f"Whether dead restores left something next to {one.database} is not known: {one.error}")
            else:
                self.warn(f"A restore of {one.database} that died left {one.name}.")
        return [one for one in found if isinstance(one, AbandonedStaging)]

    def _sweep(self, project: Project, staging: list[AbandonedStaging]) -> None:
        for removed in sweep_abandoned_staging(project, staging):
            if isinstance(removed, Unreachable):
                self.warn(f"What dead restores left next to {removed.database} stays: {removed.error}")
            else:
                self.warn(f"Removed {removed}, which a restore that died had left.")

    def _show_plan(self, project: Project, due: PrunePlan) -> None:
        own = due.decisions
        if len(project.places) > 1:
            self.show(f"{due.place}:")
        if own:
            self.show(prune.format_decisions(own, project.zone))
        else:
            self.warn(f"No backup of {project.name}/{project.env} in {due.storage.location}.")
        if others := len(due.retention.decisions) - len(own):
            self.warn(f"{others} more of other projects or environments: they are never deleted from here.")
        for warning in due.retention.warnings:
            self.warn(warning)
        self.warn_of_damage(due.catalog.damaged)
        if leftovers := find_leftovers(project, due.place, due.catalog):
            self.warn(f"Without a manifest: {_first_and_count(leftovers)}; see backup_prune --leftovers.")

    def _leftovers(self, project: Project, names: list[str]) -> Any:
        unnamed = [
            leftover
            for place in project.places
            for leftover in find_leftovers(project, place, read_catalog(place.storage), names)
        ]
        found = _named(unnamed, names)
        if found:
            self.show(prune.format_leftovers(found, project.zone))
        removable = [leftover for leftover in found if not leftover.spared]
        size = megabytes(sum(leftover.size for leftover in removable))
        removed: list[Leftover] = []
        errors: list[str] = []
        places = " and ".join(dict.fromkeys(leftover.place.storage.location for leftover in removable))
        if self._agreed(f"what is left of {counted(len(removable), 'name')} ({size})", places, bool(removable)):
            for leftover in removable:
                self._remove(leftover, removed, errors)
        document = [leftover.report(removed=leftover in removed) for leftover in found]
        if errors:
            self.print_document(document)
            raise StorageError(*errors)
        return document

    def _remove(self, leftover: Leftover, removed: list[Leftover], errors: list[str]) -> None:
        try:
            if remove_leftover(leftover):
                removed.append(leftover)
        except StorageError as error:
            errors.append(str(error))

    def _agreed(self, what: str, where: str, is_something: bool) -> bool:
        """Whether to go on; only what is to be lost is asked about.

        :raises Declined: the answer is no.
        """
        if self._only_shows:
            if is_something:
                self.warn("Only shown, nothing was deleted: without --dry-run at a terminal you are asked, or --yes.")
            return False
        if not is_something:
            self.show("Nothing to delete.")
        else:
            self.ask(f"Delete {what} in {where} for good?", yes=self._yes)
        return True


def _places(plans: list[PrunePlan]) -> str:
    return " and ".join(due.storage.location for due in plans if due.retention.due) or plans[0].storage.location


def _named(found: list[Leftover], names: list[str]) -> list[Leftover]:
    """Those of *names*; without any, all.

    :raises BackupNotFound: there is none of a name.
    """
    if unknown := sorted(set(names) - {leftover.name for leftover in found}):
        raise BackupNotFound(
            f"Nothing without a manifest is named {unknown[0]!r}; `backup_prune --leftovers` shows all."
        )
    return [leftover for leftover in found if not names or leftover.name in names]


def _first_and_count(leftovers: list[Leftover]) -> str:
    first = leftovers[0].objects[0].key
    return first if len(leftovers) == 1 else f"{first} and what is left of {counted(len(leftovers) - 1, 'other name')}"
